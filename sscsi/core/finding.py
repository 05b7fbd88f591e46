"""What was found amiss with the node or the cluster, and the cure: the words of `sscsi doctor`, and of logs at a start."""

import dataclasses
import enum


class Outcome(enum.StrEnum):
    """How it is: a warning works but not as it should, a failure keeps pods from their secrets, skip tells nothing."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the answer. `cure` is empty where there is nothing to do."""

    check: str
    outcome: Outcome
    found: str
    cure: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a check says, before the check's name is put to it."""

    outcome: Outcome
    found: str
    cure: str = ""


def ok(found: str) -> Word:
    """All is well."""
    return Word(outcome=Outcome.OK, found=found)


def warn(found: str, cure: str) -> Word:
    """It works, but not as it should."""
    return Word(outcome=Outcome.WARN, found=found, cure=cure)


def fail(found: str, cure: str) -> Word:
    """It does not work."""
    return Word(outcome=Outcome.FAIL, found=found, cure=cure)


def skip(found: str, cure: str = "") -> Word:
    """It can't be told here, and why."""
    return Word(outcome=Outcome.SKIP, found=found, cure=cure)
