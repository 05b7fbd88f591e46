"""Many publishes at once, with an API server and without one."""

import dataclasses
import time

from tests.bench.api_appliance import BenchApi
from tests.bench.volumes import Content, make_volumes, remove_directories
from tests.bench.whole import WholeAppliance
from tests.bench.whole_memory import settle_whole


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Seconds of each answer, and from the first call, or the return of the API server, to the last status object."""

    volumes: int
    answers: list[float]
    right_seconds: float
    errors: list[str]


def publish_at_once(
    appliance: WholeAppliance, api: BenchApi, content: Content, *, count: int, is_away: bool
) -> Burst:
    """Publish `count` volumes at once of a class that is in use; while the API server is away, if `is_away`.

    Raises BenchError when the status objects do not become right.
    """
    root = appliance.place.path("kubelet")
    (first,) = make_volumes(root, content, 1)
    volumes = make_volumes(root, content, count)
    errors = list(appliance.kubelet.publish([first], in_flight=1).errors)
    api.wait_for([first])
    settle_whole(appliance)
    if is_away:
        api.kube_api.stop()
    begun = time.monotonic()
    timings = appliance.kubelet.publish(volumes, in_flight=count)
    if is_away:
        api.kube_api.start()
        begun = time.monotonic()
    api.wait_for([first, *volumes])
    right_seconds = time.monotonic() - begun
    errors += timings.errors + appliance.kubelet.unpublish([first, *volumes], in_flight=8).errors
    api.wait_for([])
    if not errors:
        remove_directories([first, *volumes])
    return Burst(volumes=count, answers=timings.seconds, right_seconds=right_seconds, errors=errors)
