"""What one volume asks of the API server, and writes there: counts, from the audit log."""

import dataclasses
import time
from collections.abc import Callable, Sequence

from tests.bench.api_appliance import BenchApi
from tests.bench.kubelet_client import Timings
from tests.bench.volumes import Content, Volume, make_volumes, remove_directories
from tests.bench.whole import WholeAppliance
from tests.bench.whole_memory import settle_whole

PUBLISH, REPUBLISH, UNPUBLISH = STEPS = ("publish", "unchanged republish", "unpublish")
_READS = frozenset({"get", "list", "watch"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A volume's share of requests, and how many of these are writes."""

    requests: float
    writes: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequests:
    """By step, for volumes of a class that is in use already."""

    steps: dict[str, Asked]
    errors: list[str]


def count_requests(appliance: WholeAppliance, api: BenchApi, content: Content, *, count: int) -> ApiRequests:
    """Publish, publish again and unpublish `count` volumes beside one that stays. Raises BenchError."""
    first, *volumes = make_volumes(appliance.place.path("kubelet"), content, count + 1)
    errors = list(appliance.kubelet.publish([first], in_flight=1).errors)
    api.wait_for([first])
    settle_whole(appliance)
    steps: dict[str, Asked] = {}

    def step(name: str, operation: Callable[[], Timings], left: Sequence[Volume]) -> None:
        since = time.time()
        errors.extend(operation().errors)
        api.wait_for(left)
        settle_whole(appliance)
        asked = api.requests(since)
        writes = [request for request in asked if request.verb not in _READS]
        steps[name] = Asked(requests=len(asked) / count, writes=len(writes) / count)

    step(PUBLISH, lambda: appliance.kubelet.publish(volumes, in_flight=1), [first, *volumes])
    step(REPUBLISH, lambda: appliance.kubelet.publish(volumes, in_flight=1), [first, *volumes])
    step(UNPUBLISH, lambda: appliance.kubelet.unpublish(volumes, in_flight=1), [first])
    errors.extend(appliance.kubelet.unpublish([first], in_flight=1).errors)
    api.wait_for([])
    if not errors:
        remove_directories([first, *volumes])
    return ApiRequests(steps=steps, errors=errors)
