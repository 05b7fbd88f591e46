"""docs/metrics.md against the code: every metric with its type, its labels and its room, and no other."""

from tests.support.metrics_table import documented, of_the_code


def test_the_docs_have_every_metric_as_the_code_has_it_and_no_other() -> None:
    assert documented() == of_the_code()
