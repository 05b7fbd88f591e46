"""What the audit log and counting add to a publish."""

import dataclasses

from sscsi.node.metrics import NodeMetrics
from tests.bench import metrics_cost
from tests.bench.figures import CaseFigures, case_figures
from tests.bench.passes import Case, run_rounds
from tests.bench.sides import appliance
from tests.bench.volumes import Content

_TIMES = 10_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PublishCost:
    """`figures` have the node without an audit log as the floor. Seconds that counting takes of one publish."""

    figures: CaseFigures
    counting_seconds: float
    errors: list[str]

    @property
    def counting_ratio(self) -> float:
        """Counting's part of a publish."""
        return 1000 * self.counting_seconds / self.figures.floor.publish_p50_ms


def measure_cost(root: str, providers: str, content: Content, *, volumes: int, rounds: int) -> PublishCost:
    """One in flight, without and with an audit log in a file, in turns."""
    case = Case(content=content, in_flight=1, volumes=volumes)
    audit = f"--audit-log={root}/audit.log"
    with (
        appliance("plain", root, providers, (content,)) as plain,
        appliance("audited", root, providers, (content,), (audit,)) as audited,
    ):
        pairs = run_rounds((plain, audited), [case], rounds)[case]
    metrics = NodeMetrics()
    return PublishCost(
        figures=case_figures(case, pairs),
        counting_seconds=metrics_cost.seconds(lambda: metrics_cost.publish(metrics), _TIMES),
        errors=[text for pair in pairs for each in pair for text in each.errors],
    )
