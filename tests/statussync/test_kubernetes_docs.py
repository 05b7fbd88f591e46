"""docs/kubernetes.md knows every word that a status object or an Event may say."""

import os

import pytest

from sscsi.core import annotations, failure_reason, pod_event, status_conditions
from tests.support.checkout import ROOT


@pytest.mark.parametrize(
    "word",
    [
        *failure_reason.REASONS,
        status_conditions.REFRESH_FAILED,
        status_conditions.READY,
        status_conditions.REFRESHED,
        status_conditions.SYNCED,
        pod_event.FAILED_REFRESH,
        pod_event.INVALID_INTERVAL,
        annotations.REFRESH_AT,
    ],
)
def test_the_word_is_explained(word: str) -> None:
    with open(os.path.join(ROOT, "docs", "kubernetes.md"), encoding="utf-8") as file:
        assert word in file.read()
