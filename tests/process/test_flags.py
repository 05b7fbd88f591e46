import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core import log_keys
from sscsi.errors import ConfigError
from sscsi.process.flags import Argument, Flag, HelpRequestedError, parse, usage

FLAGS = (
    Flag(name="endpoint", default="unix://tmp/csi.sock", help="Where to listen.", variable="CSI_ENDPOINT"),
    Flag(name="enable-x", default=False, help="Switch x on.", variable="ENABLE_X"),
    Flag(name="poll-interval", default=120.0, help="How often.", variable="POLL_INTERVAL"),
    Flag(name="max-size", default=4194304, help="How much.", variable="MAX_SIZE"),
    Flag(name="enable-pprof", default=False, help="Serve profiles.", no_effect="this is no Go program."),
)


def test_an_absent_flag_has_its_default() -> None:
    flags = parse("p", FLAGS, [], {})
    assert flags.text("endpoint") == "unix://tmp/csi.sock"
    assert flags.boolean("enable-x") is False
    assert flags.seconds("poll-interval") == pytest.approx(120.0)
    assert flags.integer("max-size") == 4194304


@pytest.mark.parametrize(
    "argv",
    [
        ["-endpoint=unix:///a"],
        ["--endpoint=unix:///a"],
        ["-endpoint", "unix:///a"],
        ["--endpoint", "unix:///a"],
        ["--endpoint=unix:///b", "--endpoint=unix:///a"],
    ],
)
def test_one_dash_or_two_and_the_last_occurrence_wins(argv: list[str]) -> None:
    assert parse("p", FLAGS, argv, {}).text("endpoint") == "unix:///a"


def test_a_value_may_hold_an_equals_sign_and_look_like_a_flag() -> None:
    assert parse("p", FLAGS, ["--endpoint=a=b"], {}).text("endpoint") == "a=b"
    assert parse("p", FLAGS, ["--endpoint", "--enable-x"], {}).text("endpoint") == "--enable-x"


@pytest.mark.parametrize(
    ("argv", "value"),
    [(["--enable-x"], True), (["-enable-x=T"], True), (["--enable-x", "--enable-x=false"], False)],
)
def test_a_boolean_takes_its_value_only_after_an_equals_sign(argv: list[str], value: bool) -> None:
    assert parse("p", FLAGS, argv, {}).boolean("enable-x") is value


def test_a_value_set_apart_from_a_boolean_is_an_error_not_ignored() -> None:
    with pytest.raises(ConfigError, match="unexpected argument 'false'"):
        parse("p", FLAGS, ["--enable-x", "false"], {})


@pytest.mark.parametrize(("text", "number"), [("7", 7), ("-7", -7), ("0x10", 16)])
def test_numbers_are_read_as_go_reads_them(text: str, number: int) -> None:
    assert parse("p", FLAGS, [f"--max-size={text}"], {}).integer("max-size") == number


def test_a_flag_goes_before_its_variable_and_the_variable_before_the_default() -> None:
    environ = {"CSI_ENDPOINT": "unix:///v", "ENABLE_X": "true", "POLL_INTERVAL": "1m30s", "MAX_SIZE": "9"}
    flags = parse("p", FLAGS, ["--endpoint=unix:///f"], environ)
    assert flags.text("endpoint") == "unix:///f"
    assert flags.boolean("enable-x") is True
    assert flags.seconds("poll-interval") == pytest.approx(90.0)
    assert flags.integer("max-size") == 9
    assert flags.is_given("endpoint")
    assert not flags.is_given("max-size")


def test_an_empty_variable_counts_as_none() -> None:
    assert parse("p", FLAGS, [], {"MAX_SIZE": "", "CSI_ENDPOINT": ""}).integer("max-size") == 4194304


@pytest.mark.parametrize(
    ("argv", "environ", "message"),
    [
        (["--nodid=x"], {}, "unknown flag --nodid; --help lists the flags"),
        (["---endpoint=x"], {}, "unknown flag ---endpoint; --help lists the flags"),
        (["-v=5"], {}, "unknown flag --v; --help lists the flags"),
        (["--endpoint"], {}, "flag --endpoint needs a value"),
        (["x"], {}, "unexpected argument 'x'; every setting is a flag, see --help"),
        (["--"], {}, "unexpected argument '--'; every setting is a flag, see --help"),
        (["-"], {}, "unexpected argument '-'; every setting is a flag, see --help"),
        (["--max-size=1.5"], {}, "flag --max-size: '1.5' is not a whole number"),
        (["--enable-x=yes"], {}, "flag --enable-x: 'yes' is not a boolean; write true or false"),
        (
            ["--poll-interval=5"],
            {},
            "flag --poll-interval: '5' is not a duration; write it like 90s, 2m or 1h30m",
        ),
        ([], {"ENABLE_X": "yes"}, "variable ENABLE_X: 'yes' is not a boolean; write true or false"),
        (["--enable-pprof=si"], {}, "flag --enable-pprof: 'si' is not a boolean; write true or false"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_flag_and_code_2(
    argv: list[str], environ: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse("p", FLAGS, argv, environ)
    assert str(refusal.value) == message
    assert refusal.value.exit_code == 2


def test_an_unknown_flags_value_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as refusal:
        parse("p", FLAGS, ["--token=canary"], {})
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize("argument", ["-h", "--h", "-help", "--help"])
def test_help_lists_every_flag_with_its_default_and_variable(argument: str) -> None:
    with pytest.raises(HelpRequestedError) as request:
        parse("sscsi-x", FLAGS, ["--enable-x", argument], {})
    text = str(request.value)
    assert text == usage("sscsi-x", FLAGS)
    assert text.splitlines()[0] == "Usage: sscsi-x [flags]"
    assert "  --poll-interval=2m   [variable POLL_INTERVAL]\n        How often." in text
    assert "  --enable-x=false   [variable ENABLE_X]\n" in text
    assert "Accepted, without effect: this is no Go program." in text


def test_only_given_flags_without_effect_are_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        parse("p", FLAGS, ["--endpoint=unix:///a"], {}).warn_without_effect()
        assert not caplog.records
        parse("p", FLAGS, ["--enable-pprof", "--enable-pprof=false"], {}).warn_without_effect()
    assert [record.__dict__[log_keys.FLAG] for record in caplog.records] == ["enable-pprof"]


@given(
    st.lists(st.text(max_size=10) | st.sampled_from(["--max-size", "--endpoint=x", "-enable-x"]), max_size=5)
)
def test_any_command_line_is_parsed_or_refused(argv: list[str]) -> None:
    flags = None
    try:
        flags = parse("p", FLAGS, argv, {})
    except ConfigError as error:
        assert str(error)  # noqa: PT017 - either outcome is good
    except HelpRequestedError:
        return
    assert flags is None or isinstance(flags.integer("max-size"), int)


OBJECT = Argument(name="OBJECT", help="What to look for.")


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        ([], None),
        (["a"], "a"),
        ([""], ""),
        (["--enable-x", "a"], "a"),
        (["a", "--max-size", "7"], "a"),
        (["--max-size=7", "--", "--enable-x"], "--enable-x"),
        (["--", "a", "--enable-x"], "a"),
        (["-"], "-"),
        (["--", "--"], "--"),
    ],
)
def test_a_command_may_take_one_word_beside_its_flags(argv: list[str], word: str | None) -> None:
    assert parse("p", FLAGS, argv, {}, argument=OBJECT).argument == word


def test_flags_around_the_word_are_still_flags() -> None:
    flags = parse("p", FLAGS, ["--enable-x", "--", "-a", "--max-size=7"], {}, argument=OBJECT)
    assert (flags.argument, flags.boolean("enable-x"), flags.integer("max-size")) == ("-a", True, 7)


def test_two_words_are_one_too_many() -> None:
    with pytest.raises(ConfigError, match="unexpected argument 'b': OBJECT is 'a' already"):
        parse("p", FLAGS, ["a", "b"], {}, argument=OBJECT)


def test_the_word_is_in_the_help() -> None:
    text = usage("p", FLAGS, OBJECT)
    assert text.startswith("Usage: p OBJECT [flags]\n\nOBJECT: What to look for.\n\nFlags")
