"""How much memory each program may take, and when it has taken more for long enough. Pure."""

from collections.abc import Mapping

from sscsi.core.byte_size import format_size, parse_size

# Measured: node 200 MiB under a hundred answers of 4 MiB at once, status-sync 60 with the Kubernetes client,
# registrar and liveness probe 20. Twice that and more for the unforeseen, and each below the container's limit of
# deploy/daemonset.yaml: a budget is there to end a leak before the kernel ends the whole container, and never to end a
# program that works. RSS, where PSS can't be read, has room.
DEFAULT_BUDGETS: Mapping[str, int | None] = {
    "livenessprobe": 128 * 2**20,
    "node": 384 * 2**20,
    "provider-file": 256 * 2**20,
    "registrar": 96 * 2**20,
    "statussync": 256 * 2**20,
    "watchdog": 96 * 2**20,
}
MEASUREMENTS = 3
_OFF = "off"


def parse_budgets(text: str) -> dict[str, int | None]:
    """Every program's budget in bytes (None: it has none) from `node=1Gi,registrar=off`; who is not named has the default.

    Raises ValueError, which names the part that is wrong.
    """
    budgets: dict[str, int | None] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        program, equals, size = part.partition("=")
        if not equals:
            raise ValueError(f"{part!r} is not PROGRAM=SIZE, like node=1Gi")
        if program not in DEFAULT_BUDGETS:
            raise ValueError(f"{part!r}: there is no program {program!r}, only {', '.join(DEFAULT_BUDGETS)}")
        if program in budgets:
            raise ValueError(f"{part!r}: {program} is there twice")
        budgets[program] = _budget(part, size)
    return {**DEFAULT_BUDGETS, **budgets}


def format_budgets(budgets: Mapping[str, int | None]) -> str:
    """The budgets as the flag has them."""
    return ",".join(
        f"{program}={_OFF if size is None else format_size(size)}" for program, size in budgets.items()
    )


def _budget(part: str, text: str) -> int | None:
    if text == _OFF:
        return None
    try:
        size = parse_size(text)
    except ValueError as error:
        raise ValueError(f"{part!r}: {error}, or off") from None
    if not size:
        raise ValueError(f"{part!r}: nothing runs in no memory; to have no budget, write off")
    return size


class OverBudgets:
    """How often in a row each program was over its budget, process by process."""

    def __init__(self, budgets: Mapping[str, int | None]) -> None:
        self._budgets = budgets
        self._in_a_row: dict[str, tuple[int, int]] = {}

    def budget(self, program: str) -> int | None:
        """The program's budget in bytes; None when it has none."""
        return self._budgets.get(program)

    def is_over(self, program: str, size: int) -> bool:
        """Whether one figure, in bytes, is over the budget."""
        budget = self.budget(program)
        return budget is not None and size > budget

    def measured(self, program: str, pid: int, size: int) -> bool:
        """Note a measurement of the process; True when it is one too many, and then the count begins anew."""
        counted_pid, count = self._in_a_row.pop(program, (pid, 0))
        if not self.is_over(program, size):
            return False
        count = count + 1 if counted_pid == pid else 1
        if count >= MEASUREMENTS:
            return True
        self._in_a_row[program] = (pid, count)
        return False
