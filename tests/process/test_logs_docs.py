"""docs/logs.md tells what the code does: keys, messages, levels, forms."""

import json
import re

import pytest

from sscsi.core import log_keys, log_levels
from sscsi.node import audit
from tests.process.test_logs import KLOG
from tests.support import log_table

# Its call has the word in a variable; tests/node/test_log_lines.py sees the lines.
_BY_VARIABLE = {
    audit.REFRESHED: frozenset({log_levels.INFO}),
    audit.UNCHANGED: frozenset({log_levels.DECISIONS}),
}


def test_the_table_has_every_key_and_no_other() -> None:
    assert log_table.keys().keys() == set(log_keys.ALL)
    assert len(set(log_keys.ALL)) == len(log_keys.ALL)
    constants = {value for name, value in vars(log_keys).items() if name.isupper() and name != "ALL"}
    assert constants == set(log_keys.ALL)


@pytest.mark.parametrize("key", log_keys.ALL)
def test_a_key_is_written_by_whom_the_table_says(key: str) -> None:
    told, found = log_table.keys()[key].programs, log_table.written_keys()[key]
    assert found, "nobody writes it"
    if log_table.ALL in found:
        # What is shared runs in some programs; the table may say in which.
        assert found - {log_table.ALL} <= told or log_table.ALL in told
    else:
        assert told - {log_table.ALL} == found or log_table.ALL in told


@pytest.mark.parametrize("message", log_table.messages())
def test_a_message_is_in_the_code_with_its_level_and_program(message: str) -> None:
    levels, program = log_table.messages()[message]
    if message in _BY_VARIABLE:
        assert (levels, program) == (_BY_VARIABLE[message], "node")
        return
    if message.startswith("lines of this log were lost"):
        # It is no call: the stream makes the record.
        return
    searched = message.replace("METHOD", "%s")
    found = [call for call in log_table.calls() if searched in call.texts and call.program == program]
    assert found, "no such message"
    assert {call.levels for call in found} == {levels}


def test_no_call_passes_its_level_by_another_way() -> None:
    """`log.debug` would be verbosity 10; a level that is no constant can't be checked."""
    # supervisord's own lines have supervisord's levels; an RPC's level comes from a table.
    others = ("sscsi/cli/supervisord_options.py", "sscsi/edges/grpc_status.py")
    wrong = [
        call.place for call in log_table.calls() if not call.levels and not call.place.startswith(others)
    ]
    assert wrong == []


def test_the_verbosities_are_those_of_the_code() -> None:
    levels = {log_levels.INFO, log_levels.CALLS, log_levels.DECISIONS, log_levels.REQUESTS, 10}
    assert log_table.verbosities() == {log_levels.INFO - level for level in levels}


def test_the_examples_have_the_two_forms_and_tell_the_same() -> None:
    (line,) = re.findall(r"^```\n(I.*)\n```$", log_table.text(), re.MULTILINE)
    (document,) = re.findall(r"^```json\n(.*)\n```$", log_table.text(), re.MULTILINE)
    made = json.loads(document)
    match = KLOG.fullmatch(line)
    assert match
    assert match[2] == made["caller"]
    fields = {key: value for key, value in made.items() if key in log_keys.ALL}
    assert match[3] == json.dumps(made["message"]) + "".join(
        f" {key}={json.dumps(value)}" for key, value in fields.items()
    )
    # In the order in which the code writes them.
    assert list(fields) == [key for key in log_keys.ALL if key in fields]
    assert log_table.misfits(made) == []
