"""Where `sscsi doctor` looks: the configuration of the appliance that runs here, or of the one that would."""

import contextlib
import dataclasses
import os
import socket
import time
from collections.abc import Mapping

from sscsi.cli import status_sources
from sscsi.cli.environment import Environment, complete
from sscsi.cli.settings import SETTINGS
from sscsi.cli.status_observation import Observation
from sscsi.core.host_mounts import kubelet_root as told_root

_ENVIRON_BYTES = 1024 * 1024
_OURS = frozenset(setting.variable for setting in SETTINGS) | {"SSCSI_ALLOW_PRIVILEGED_SECRET_TYPES"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """All that the checks go by. `source` tells in words where the configuration is from.

    `kubelet_root` is empty where there is no kubelet; `timeout_seconds` is for each question that is asked.
    """

    source: str
    environ: Mapping[str, str]
    settings: Environment
    observation: Observation
    run_directory: str
    kubelet_root: str
    timeout_seconds: float

    @property
    def is_in_cluster(self) -> bool:
        """Whether there is an API server to ask."""
        return not self.settings.statussync.cluster_directory

    @property
    def pods_directory(self) -> str:
        """Kubelet's directory of pods, below which volumes are mounted."""
        return os.path.join(self.kubelet_root, "pods")


def find_place(
    environ: Mapping[str, str], run_directory: str, kubelet_root: str, *, timeout_seconds: float
) -> Place:
    """Look around. `run_directory` and `kubelet_root` are the flags'. Raises ConfigError for settings that make no sense."""
    observation = status_sources.look(run_directory, timeout_seconds=timeout_seconds, now=time.time())
    running = _running_environ(observation)
    variables = {**environ, **running, "SSCSI_RUN_DIR": run_directory}
    settings = complete([], variables, host_name=socket.gethostname())
    return Place(
        source="the running appliance" if running else "the variables of this process, as no appliance tells",
        environ=variables,
        settings=settings,
        observation=observation,
        run_directory=run_directory,
        kubelet_root=kubelet_root or told_root(settings.variables["SSCSI_KUBELET_REGISTRATION_PATH"]),
        timeout_seconds=timeout_seconds,
    )


def _running_environ(observation: Observation) -> dict[str, str]:
    """Our variables, as the watchdog of the running appliance has them: flags of `sscsi run` are among them."""
    watchdog = observation.watchdog
    if watchdog is None or watchdog.pid not in observation.alive:
        return {}
    with contextlib.suppress(OSError), open(f"/proc/{watchdog.pid}/environ", "rb") as file:
        lines = file.read(_ENVIRON_BYTES).split(b"\0")
        pairs = (os.fsdecode(line).partition("=") for line in lines)
        return {name: value for name, _, value in pairs if name in _OURS}
    return {}
