"""docs/codes.md against the code: gRPC statuses, Events and conditions. Exit codes are in test_docs_exit_codes.py."""

import dataclasses

import pytest

from sscsi import errors
from sscsi.core import host_mounts, pod_event, status_conditions
from sscsi.core.published_volume import PublishedVolume
from sscsi.edges.grpc_status import CODES, INTERNAL_TEXT
from tests.support import error_texts
from tests.support.doc_tables import quoted, table

GRPC = "## gRPC codes of the CSI socket"
# Texts that are made where no error is.
MADE_BY = {errors.PropagationError: host_mounts.refusal("/pods/1/mount", "/pods", "it is not shared")}
# What no call of kubelet ends with, and why.
NEVER_TOLD = {
    errors.ConfigError: "ends a start",
    errors.DiskFullError: "ends a start, or a record goes elsewhere",
    errors.ReviewRefusedError: "a finding about the installation",
    errors.RoomUnavailableError: "becomes ClusterUnavailableError, or stays in status-sync",
    errors.ObjectNotOursError: "status-sync's",
    errors.DriverUnreachableError: "the registrar's and the liveness probe's",
    errors.DriverCallError: "the registrar's and the liveness probe's",
    errors.RecordError: "the volume works without a record",
    errors.SecretDataError: "status-sync's",
    errors.SocketBusyError: "is waited for at the start",
    errors.ObjectError: "the file provider's own server",
    errors.ProviderCallError: "has the provider's code",
}


def grpc_rows() -> list[tuple[str, str]]:
    return [(code.strip("`"), quoted(text)) for code, _, text in table("codes.md", GRPC)]


def error_classes(text: str) -> set[str]:
    """The error classes that are made with the text."""
    made = {error.__name__ for error, whole in MADE_BY.items() if error_texts.pattern(text).search(whole)}
    return made | {each.error for each in error_texts.quoting(text)} & vars(errors).keys()


@pytest.mark.parametrize(("code", "text"), grpc_rows())
def test_a_text_is_in_the_code_with_an_error_of_that_status(code: str, text: str) -> None:
    assert error_texts.quoting(text), "no program says so"
    if text == INTERNAL_TEXT:
        assert code == "INTERNAL"
    elif code == "the provider's own":
        assert text.startswith("rpc error: code = ")
    else:
        assert {CODES[getattr(errors, name)].name for name in error_classes(text)} == {code}


def test_every_error_that_kubelet_can_be_told_has_a_row() -> None:
    told = {name for _, text in grpc_rows() for name in error_classes(text)}
    expected = {error.__name__ for error in CODES if error not in NEVER_TOLD}
    assert expected <= told


def test_the_reasons_of_events_are_those_of_the_code() -> None:
    reasons = {value for name, value in vars(pod_event).items() if name.isupper()}
    rows = [reason.strip("`") for reason, *_ in table("codes.md", "## Events")]
    assert len(rows) == len(set(rows))
    assert set(rows) == reasons


def test_the_conditions_are_those_of_the_code() -> None:
    volume = PublishedVolume(
        target_path="/pods/1/mount",
        pod_name="web-1",
        pod_namespace="shop",
        pod_uid="1",
        class_name="web",
        object_versions=(),
        data_directory="",
        last_attempt_time=0.0,
        last_success_time=0.0,
        last_error="",
        adopted=False,
    )
    adopted = dataclasses.replace(volume, adopted=True)
    failing = dataclasses.replace(volume, last_error="no", failure_reason="ProviderDenied")
    made = [
        status_conditions.ready(),
        status_conditions.refreshed([volume]),
        status_conditions.refreshed([adopted]),
        status_conditions.refreshed([failing]),
        status_conditions.synced([]),
        status_conditions.synced(["no"]),
    ]
    rows = [tuple(cell.strip("`") for cell in row) for row in table("codes.md", "## Conditions")]
    expected = [(condition.type, condition.status, condition.reason) for condition in made]
    # The reasons of a failure have a table of their own, which tests/statussync/test_kubernetes_docs.py holds.
    expected[3] = (*expected[3][:2], "one of [these](kubernetes.md#why-a-refresh-fails)")
    assert rows == expected
