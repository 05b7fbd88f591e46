"""Configuration B: the appliance on the Kubernetes API, without the file provider."""

from tests.bench.api_appliance import api_appliance, bench_api
from tests.bench.api_burst import publish_at_once
from tests.bench.api_report import ApiReport
from tests.bench.api_requests import count_requests
from tests.bench.volumes import Content
from tests.bench.whole import EXECED, FORKED
from tests.bench.whole_memory import measure_memory


def run_api(
    root: str,
    providers: str,
    content: Content,
    *,
    binaries: str,
    idle_seconds: float,
    volumes: int,
    burst: int,
) -> ApiReport:
    """Measure both forms' memory, and of the forked one the rest. Raises BenchError."""
    with bench_api(binaries, (content,)) as api:
        with api_appliance(EXECED, f"{root}/api-e", providers, api) as appliance:
            execed = measure_memory(appliance, content, idle_seconds=idle_seconds, count=volumes)
        with api_appliance(FORKED, f"{root}/api-f", providers, api) as appliance:
            forked = measure_memory(appliance, content, idle_seconds=idle_seconds, count=volumes)
            requests = count_requests(appliance, api, content, count=volumes)
            bursts = {
                is_away: publish_at_once(appliance, api, content, count=burst, is_away=is_away)
                for is_away in (False, True)
            }
    return ApiReport(
        memory={FORKED: forked, EXECED: execed},
        requests=requests,
        with_api=bursts[False],
        without_api=bursts[True],
    )
