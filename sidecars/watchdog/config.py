"""The room's command line."""

import dataclasses
from collections.abc import Mapping, Sequence

from sidecars.watchdog.memory_budgets import DEFAULT_BUDGETS, format_budgets, parse_budgets
from sscsi.errors import ConfigError
from sscsi.process.flags import Flag, Flags
from sscsi.process.flags import parse as parse_flags
from sscsi.process.run import LOG_FLAGS, SUPERVISOR_PID

PROGRAM = "sscsi-watchdog"
_BUDGETS_FLAG = "memory-budgets"
_BUDGETS_VARIABLE = "SSCSI_MEMORY_BUDGETS"
_FLAGS = (
    Flag(
        name="run-dir",
        default="/run/sscsi",
        help="Directory of watchdog.json.",
        variable="SSCSI_RUN_DIR",
    ),
    Flag(
        name=_BUDGETS_FLAG,
        default=format_budgets(DEFAULT_BUDGETS),
        help="Memory that each program may take before it is started anew: PROGRAM=SIZE, comma separated; SIZE like "
        "64Mi, 1.5Gi or 4194304, or off for no budget. A program that is not named has its default. PSS counts where "
        "it may be read (CAP_SYS_PTRACE), else RSS.",
        variable=_BUDGETS_VARIABLE,
    ),
    Flag(
        name="stop-grace",
        default=12.0,
        help="How long a program that is over its budget may take to end when asked; then it is killed.",
    ),
    *LOG_FLAGS,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the room needs to know. A bad value raises ConfigError."""

    run_directory: str
    """Directory of `watchdog.json`."""
    memory_budgets: Mapping[str, int | None]
    """Bytes by program; None: no budget."""
    stop_grace_seconds: float
    decides_on_end: bool
    """Whether it is for the watchdog to end supervisord; `sscsi run`, whose process that is, does it itself."""
    log_as_json: bool
    log_verbosity: int
    flags: Flags

    def __post_init__(self) -> None:
        if not self.run_directory:
            raise ConfigError("flag --run-dir must not be empty")
        if self.stop_grace_seconds < 0:
            raise ConfigError("flag --stop-grace must not be negative")


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Config:
    """The configuration. Raises ConfigError, HelpRequestedError."""
    flags = parse_flags(PROGRAM, _FLAGS, argv, environ)
    if not environ.get("SUPERVISOR_ENABLED"):
        raise ConfigError(
            f"{PROGRAM} is an event listener: supervisord starts it, from an [eventlistener:] section",
            exit_code=1,
        )
    return Config(
        run_directory=flags.text("run-dir"),
        memory_budgets=_budgets(flags),
        stop_grace_seconds=flags.seconds("stop-grace"),
        decides_on_end=not environ.get(SUPERVISOR_PID),
        log_as_json=flags.boolean("log-format-json"),
        log_verbosity=flags.integer("v"),
        flags=flags,
    )


def _budgets(flags: Flags) -> dict[str, int | None]:
    where = f"flag --{_BUDGETS_FLAG}" if flags.is_given(_BUDGETS_FLAG) else f"variable {_BUDGETS_VARIABLE}"
    try:
        return parse_budgets(flags.text(_BUDGETS_FLAG))
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
