"""Command lines as Go's flag package reads them, with environment variables as defaults.

`-x` and `--x` are the same; a boolean takes its value only after `=`; the last occurrence wins; an unknown
flag ends the process with code 2 (upstream-driver reference, 1.1). Flag over variable over default.
"""

import dataclasses
import logging
import textwrap
from collections.abc import Mapping, Sequence

from sscsi.core import log_keys
from sscsi.core.go_values import format_duration, parse_bool, parse_duration
from sscsi.errors import ConfigError

log = logging.getLogger(__name__)

Value = str | bool | int | float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag. The type of `default` is the type of its value; a float is a Go duration in seconds.

    `variable` is the environment variable that stands in for an absent flag. `no_effect` says why a flag of
    upstream's changes nothing here; such a flag is still parsed and checked, and warned about when given.
    """

    name: str
    default: Value
    help: str
    variable: str = ""
    no_effect: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """The one word beside the flags that a command may take, anywhere among them, or after `--` when it begins with a dash.

    With `repeats`, any number of them.
    """

    name: str
    help: str
    repeats: bool = False


class TextRequestedError(Exception):
    """The command line asks for a text and nothing else: print the argument and leave with code 0."""


class HelpRequestedError(TextRequestedError):
    """`-h` or `--help` was given."""


class Flags:
    """The parsed command line."""

    def __init__(
        self,
        values: Mapping[str, Value],
        given: frozenset[str],
        without_effect: Sequence[Flag],
        words: Sequence[str],
    ) -> None:
        self.words = tuple(words)
        """The words beside the flags."""
        self._values = values
        self._given = given
        self._without_effect = without_effect

    @property
    def argument(self) -> str | None:
        """The word beside the flags; None: it was not given."""
        return self.words[0] if self.words else None

    def is_given(self, name: str) -> bool:
        """Whether the flag is on the command line itself."""
        return name in self._given

    def text(self, name: str) -> str:
        return str(self._values[name])

    def boolean(self, name: str) -> bool:
        return bool(self._values[name])

    def integer(self, name: str) -> int:
        return int(self._values[name])

    def seconds(self, name: str) -> float:
        return float(self._values[name])

    def warn_without_effect(self) -> None:
        """Log one line for each given flag that changes nothing. Called once, when logging is up."""
        for flag in self._without_effect:
            log.warning(
                "a flag was given that has no effect",
                extra={log_keys.FLAG: flag.name, log_keys.REASON: flag.no_effect},
            )


def parse(
    program: str,
    flags: Sequence[Flag],
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    argument: Argument | None = None,
) -> Flags:
    """Parse `argv` (without the program's name). Raises ConfigError, HelpRequestedError.

    Without `argument` a word beside the flags is an error.
    """
    by_name = {flag.name: flag for flag in flags}
    texts, words = _split(program, by_name, argv, argument)
    values: dict[str, Value] = {}
    for flag in flags:
        if flag.name in texts:
            values[flag.name] = _value(flag, texts[flag.name], f"flag --{flag.name}")
        elif flag.variable and environ.get(flag.variable):
            values[flag.name] = _value(flag, environ[flag.variable], f"variable {flag.variable}")
        else:
            values[flag.name] = flag.default
    without_effect = [by_name[name] for name in texts if by_name[name].no_effect]
    return Flags(values, frozenset(texts), without_effect, words)


def _split(
    program: str, by_name: Mapping[str, Flag], argv: Sequence[str], argument: Argument | None
) -> tuple[dict[str, str], list[str]]:
    """The texts of the flags, and the words beside them: one at most, and none without `argument`."""
    texts: dict[str, str] = {}
    words: list[str] = []
    arguments = list(argv)
    while arguments:
        word = arguments.pop(0)
        # What follows the two dashes is no flag.
        is_word = word == "--" and argument is not None and bool(arguments)
        if is_word or not word.startswith("-") or word in {"-", "--"}:
            _keep_word(arguments.pop(0) if is_word else word, words, argument)
            continue
        name, has_value, text = word.removeprefix("-").removeprefix("-").partition("=")
        if name in {"h", "help"}:
            raise HelpRequestedError(usage(program, list(by_name.values()), argument))
        if name not in by_name:
            raise ConfigError(f"unknown flag --{name}; --help lists the flags")
        if not has_value:
            text = _next_value(by_name[name], arguments)
        texts[name] = text
    return texts, words


def _keep_word(word: str, words: list[str], argument: Argument | None) -> None:
    if argument is None:
        raise ConfigError(f"unexpected argument {word!r}; every setting is a flag, see --help")
    if words and not argument.repeats:
        raise ConfigError(
            f"unexpected argument {word!r}: {argument.name} is {words[0]!r} already; see --help"
        )
    words.append(word)


def _next_value(flag: Flag, arguments: list[str]) -> str:
    if isinstance(flag.default, bool):
        return "true"
    if not arguments:
        raise ConfigError(f"flag --{flag.name} needs a value")
    return arguments.pop(0)


def _value(flag: Flag, text: str, where: str) -> Value:
    try:
        if isinstance(flag.default, bool):
            return parse_bool(text)
        if isinstance(flag.default, int):
            return _integer(text)
        if isinstance(flag.default, float):
            return parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    return text


def _integer(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def usage(program: str, flags: Sequence[Flag], argument: Argument | None = None) -> str:
    """The text of `--help`."""
    lines = [
        f"Usage: {program}{f' {argument.name}' if argument else ''}{'...' if argument and argument.repeats else ''} [flags]",
        "",
    ]
    if argument:
        lines += [*textwrap.wrap(f"{argument.name}: {argument.help}", width=100), ""]
    lines.append("Flags, with one dash or two:")
    for flag in sorted(flags, key=lambda flag: flag.name):
        lines.append(
            f"  --{flag.name}={_default_text(flag)}"
            + (f"   [variable {flag.variable}]" if flag.variable else "")
        )
        about = flag.help + (f" Accepted, without effect: {flag.no_effect}" if flag.no_effect else "")
        lines += textwrap.wrap(about, width=100, initial_indent="        ", subsequent_indent="        ")
    return "\n".join(lines)


def _default_text(flag: Flag) -> str:
    if isinstance(flag.default, bool):
        return "true" if flag.default else "false"
    if isinstance(flag.default, float):
        return format_duration(flag.default)
    return str(flag.default)
