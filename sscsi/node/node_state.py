"""What the node room tells of itself on its state socket."""

import time
from collections.abc import Callable, Mapping, Sequence

from sscsi.core.room_status import RoomStatus
from sscsi.core.volume_record import VolumeRecord
from sscsi.node.failed_publishes import FailedPublish
from sscsi.node.provider_gates import ProviderGates
from sscsi.node.provider_health import ProviderHealth
from sscsi.node.volume_figures import VolumeFigures, is_late
from sscsi.node.volumes import Volumes

HEALING = "looking at the volumes that are there"
SERVING = "serving"
STOPPING = "stopping"
WAITING = "waiting for the socket"

_BEFORE_SERVING = frozenset({WAITING, HEALING})
_SHOWN_PROBLEMS = 10


class NodeState:
    """`phase` is one of the words above. `provider_names` lists the providers found now; it only reads directories."""

    def __init__(
        self,
        volumes: Volumes,
        provider_names: Callable[[], Sequence[str]],
        *,
        figures: Callable[[], Sequence[VolumeFigures]],
        health: ProviderHealth,
        gates: ProviderGates,
        lasting_problems: Sequence[str],
        socket_path: str,
    ) -> None:
        self._volumes = volumes
        self._provider_names = provider_names
        self._figures = figures
        self._health = health
        self._gates = gates
        self._lasting_problems = lasting_problems
        self._socket_path = socket_path
        self.phase = WAITING
        self._obstacle = ""

    def wait_for(self, obstacle: str) -> None:
        """What keeps the CSI socket from being ours, until a later phase tells that it is."""
        self._obstacle = obstacle

    def look(self) -> RoomStatus:
        records, now = self._volumes.all(), time.time()
        failed = [record for record in records if record.last_error]
        obstacle = self._obstacle if self.phase in _BEFORE_SERVING else ""
        return RoomStatus(
            state=self.phase,
            facts={
                "volumes": str(len(records)),
                "volumes_adopted": str(sum(record.adopted for record in records)),
                "volumes_whose_last_refresh_failed": str(len(failed)),
                "providers": ",".join(self._provider_names()),
                "socket": self._socket_path,
                "volumes_late": str(sum(is_late(figures, now) for figures in self._figures())),
                **({"waits_for": obstacle} if obstacle else {}),
                **self._health.facts(),
                **_failed_publishes(self._volumes.failed()),
            },
            problems=[
                *([obstacle] if obstacle else ()),
                *self._lasting_problems,
                *self._health.problems(),
                *(_circuit_problem(name) for name, is_open in self._gates.circuits().items() if is_open),
                *(_problem(record) for record in failed[:_SHOWN_PROBLEMS]),
            ],
        )


def _failed_publishes(failed: Sequence[FailedPublish]) -> Mapping[str, str]:
    """How many volumes can't be published, and the last try. No problems of the room: kubelet tells them on the pod."""
    facts = {"volumes_whose_publish_fails": str(len(failed))}
    if failed:
        last = failed[-1]
        facts |= {
            "last_failed_publish_namespace": last.pod_namespace,
            "last_failed_publish_pod": last.pod_name,
            "last_failed_publish_class": last.class_name,
            "last_failed_publish_time": f"{last.time:.3f}",
            "last_failed_publish_error": last.error,
        }
    return facts


def _circuit_problem(provider: str) -> str:
    return f"provider {provider} failed so often that it is asked only now and then (its circuit is open)"


def _problem(record: VolumeRecord) -> str:
    pod = f"{record.pod_namespace}/{record.pod_name}"
    return f"the last refresh of class {record.class_name} for pod {pod} failed: {record.last_error}"
