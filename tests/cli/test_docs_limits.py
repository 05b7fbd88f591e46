"""The numbers in docs/limits.md are those of the code."""

import pytest

from sidecars.statussync import class_files
from sidecars.statussync import config as statussync_config
from sidecars.statussync.kube import events
from sidecars.watchdog.memory_budgets import DEFAULT_BUDGETS
from sscsi.cli import environment, run
from sscsi.core import certificate_life, csi_address, file_plan, redaction, secret_data
from sscsi.edges import provider_sockets
from sscsi.node import config as node_config
from sscsi.node import deadline, delivery
from sscsi.process.flags import Flag
from sscsi.provider_file import object_glob, objects_yaml
from tests.deploy.test_manifests import DAEMON_SET
from tests.kubeapi.manifests import documents
from tests.support.doc_tables import page, table

FLAGS = {flag.name: flag for flag in (*statussync_config._FLAGS, *node_config.flags_for({}))}
MIB = 1024 * 1024


(POD,) = (document["spec"]["template"]["spec"] for document in documents(DAEMON_SET))


def default(name: str) -> float:
    flag: Flag = FLAGS[name]
    assert isinstance(flag.default, int | float)
    return flag.default


def rows() -> dict[str, tuple[str, str]]:
    tables = [table("limits.md", f"## {heading}") for heading in ("Sizes", "At once", "How long")]
    return {what: (limit, by) for rows in tables for what, limit, by in rows}


ROWS = {
    "one provider's answer": f"{default('max-call-recv-msg-size') / MIB:g} MiB",
    "content of one volume, in pages of 4 KiB": f"{default('content-limit') / MIB:g} MiB",
    "files and directories in one volume": f"{file_plan.MAX_ENTRIES}",
    "a path in a volume": f"{file_plan._MAX_PATH_BYTES} bytes, {file_plan._MAX_NAME_BYTES} a name, {file_plan._MAX_DEPTH} names deep",
    "a file's mode": f"0 to 0{file_plan._MAX_MODE:o}",
    "a Secret": f"{secret_data.MAX_SECRET_BYTES / MIB:g} MiB",
    "a file of classes (`--cluster=dir:PATH`)": f"{class_files.MAX_FILE_BYTES / MIB:g} MiB",
    "`objects` of the file provider": f"{objects_yaml._MAX_BYTES // 1024} KiB, and {object_glob.MAX_NAMES:,} names that a pattern looks at",
    "a certificate that is looked for in content": f"in files up to {certificate_life._MAX_FILE_BYTES / MIB:g} MiB",
    "an error's text in Events, conditions and records": f"{redaction.MAX_BYTES} bytes",
    "a unix socket's path": f"{csi_address._MAX_PATH_BYTES} bytes",
    "publishes with one provider": f"{default('max-publishes-per-provider')}",
    "publishes that wait for that": f"{default('max-waiting-publishes')}",
    "refreshes with one provider": f"{default('max-refreshes-per-provider')}",
    "refreshes with one provider, a second": f"{default('max-refreshes-per-second')}",
    "requests to the API server, a second": f"{default('kube-api-qps')}, {default('kube-api-burst')} at once",
    "Events that wait to be written": f"{events.MAX_WAITING}",
    "open files": f"{run._DESCRIPTORS}, and {run.SUPERVISORD_DESCRIPTORS + 1} at least",
    "a provider's call": f"{default('provider-timeout'):g} s, or {deadline._MARGIN_SECONDS:g} s before kubelet's own end if that is sooner",
    "the wait for a class": f"{delivery._CLASS_SECONDS:g} s",
    "the wait for Secrets, at a first publish": f"{default('secret-wait'):g} s",
}
# Held elsewhere, or no number of ours.
OTHERS = {
    "a provider's name",
    "volumes on a node",
    "between two refreshes of a volume",
    "a Secret that somebody deleted is there again",
    "to stop",
}


def test_every_row_is_looked_at() -> None:
    assert rows().keys() == {*ROWS, *OTHERS}


@pytest.mark.parametrize("what", ROWS)
def test_a_limit_is_that_of_the_code(what: str) -> None:
    assert rows()[what][0] == ROWS[what]


def test_a_row_that_names_a_flag_names_one_that_there_is() -> None:
    named = {
        word.strip("`.,;()") for _, by in rows().values() for word in by.split() if word.startswith("`--")
    }
    assert {name.removeprefix("--") for name in named} <= FLAGS.keys()


def test_a_providers_name_and_the_interval() -> None:
    assert provider_sockets.is_provider_name("a" * 30) and not provider_sockets.is_provider_name("a" * 31)
    assert FLAGS["rotation-poll-interval"].default == "2m"
    assert FLAGS["rotation-poll-interval-floor"].default == "10s"


def test_the_budgets_and_the_limit_of_the_container() -> None:
    text = " ".join(page("limits.md").split())
    named = {
        "node": "node",
        "provider-file": "the file provider",
        "statussync": "status-sync",
        "livenessprobe": "the liveness probe",
    }
    for program, words in named.items():
        budget = DEFAULT_BUDGETS[program]
        assert budget and f"{budget // MIB} MiB for {words}" in text
    assert DEFAULT_BUDGETS["registrar"] == DEFAULT_BUDGETS["watchdog"] == 96 * MIB
    assert "96 MiB for the registrar and for the watchdog" in text
    limit = POD["containers"][0]["resources"]["limits"]["memory"]
    assert f"{limit}, the default" in text


def test_the_time_to_stop() -> None:
    assert environment.STOP_WAIT_SECONDS["sscsi-node"] == 12.0
    grace = POD["terminationGracePeriodSeconds"]
    assert f"the pod's grace period is {grace} s" in rows()["to stop"][1]
