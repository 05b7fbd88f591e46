"""What the node room counts, by what happened; and that nobody from outside makes series."""

import ast
import glob
import os
import threading

import grpc
import pytest

from sscsi import errors
from sscsi.core import failure_reason
from sscsi.core.prometheus import text
from sscsi.core.provider_labels import OTHER, PROVIDER_LIMIT
from sscsi.edges.grpc_status import GO_NAMES
from sscsi.errors import (
    ClassNotFoundError,
    MountError,
    ProviderAnswerError,
    ProviderCallError,
    ProviderNotFoundError,
    SscsiError,
)
from sscsi.node.error_types import ERROR_TYPES, PROVIDER_CODES, UPSTREAM_WORDS, error_type
from sscsi.node.metrics import RESULTS, STAGES, NodeMetrics
from tests.livenessprobe.metrics_text import Samples, named, parse
from tests.support.checkout import ROOT

LINUX = {"os_type": "linux"}
ROTATED = {**LINUX, "rotated": "true"}


def page(metrics: NodeMetrics) -> Samples:
    return parse(text(metrics.families()))


def value(samples: Samples, name: str, **labels: str) -> float:
    """Of the series with exactly these labels."""
    return samples[name, frozenset(labels.items())]


def changes(before: Samples, after: Samples) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What a counter went up by, sums and buckets aside."""
    return {
        key: number - before.get(key, 0)
        for key, number in after.items()
        if number != before.get(key, 0) and not key[0].endswith(("_bucket", "_sum"))
    }


class TestUpstreams:
    def test_everything_without_a_provider_is_there_before_anything_happens(self) -> None:
        samples = page(NodeMetrics())
        assert value(samples, "node_publish_total", provider="", **LINUX) == 0
        assert value(samples, "node_unpublish_total", **LINUX) == 0
        assert value(samples, "node_unpublish_error_total", **LINUX) == 0
        assert value(samples, "rotation_reconcile_total", provider="", **ROTATED) == 0
        assert value(samples, "rotation_reconcile_duration_sec_count", **LINUX) == 0
        for word in UPSTREAM_WORDS:
            assert value(samples, "node_publish_error_total", provider="", error_type=word, **LINUX) == 0
            assert (
                value(samples, "rotation_reconcile_error_total", provider="", error_type=word, **ROTATED) == 0
            )
        assert not any(samples.values())

    def test_a_publish_is_counted_for_its_provider(self) -> None:
        metrics = NodeMetrics()
        before = page(metrics)
        metrics.publish_succeeded("vault", 0.2)
        assert changes(before, page(metrics)) == {
            ("node_publish_total", frozenset({("provider", "vault"), *LINUX.items()})): 1,
            ("sscsi_publish_duration_seconds_count", frozenset({("result", "ok")})): 1,
        }

    def test_a_failed_publish_is_counted_by_what_failed(self) -> None:
        metrics = NodeMetrics()
        before = page(metrics)
        metrics.publish_failed("", ClassNotFoundError("gone"), 0.2)
        labels = {"provider": "", "error_type": "SecretProviderClassNotFound", **LINUX}
        assert changes(before, page(metrics)) == {
            ("node_publish_error_total", frozenset(labels.items())): 1,
            ("sscsi_publish_duration_seconds_count", frozenset({("result", "error")})): 1,
        }

    def test_unpublishes_are_counted(self) -> None:
        metrics = NodeMetrics()
        metrics.unpublish_succeeded()
        metrics.unpublish_failed()
        metrics.unpublish_failed()
        assert value(page(metrics), "node_unpublish_total", **LINUX) == 1
        assert value(page(metrics), "node_unpublish_error_total", **LINUX) == 2

    @pytest.mark.parametrize("is_changed", [True, False])
    def test_a_refresh_that_the_provider_answered_is_one_of_upstreams(self, is_changed: bool) -> None:
        metrics = NodeMetrics()
        before = page(metrics)
        metrics.refresh_succeeded("vault", 0.3, changed=is_changed)
        result = "changed" if is_changed else "unchanged"
        assert changes(before, page(metrics)) == {
            ("rotation_reconcile_total", frozenset({("provider", "vault"), *ROTATED.items()})): 1,
            ("rotation_reconcile_duration_sec_count", frozenset(LINUX.items())): 1,
            ("sscsi_refreshes_total", frozenset({("provider", "vault"), ("result", result)})): 1,
            ("sscsi_refresh_duration_seconds_count", frozenset({("result", result)})): 1,
        }

    def test_a_failed_refresh_is_no_failed_publish(self) -> None:
        metrics = NodeMetrics()
        before = page(metrics)
        metrics.refresh_failed("vault", ProviderCallError("no", code=14), 0.3)
        labels = {"provider": "vault", "error_type": "GRPCProviderError", **ROTATED}
        reason = {"provider": "vault", "reason": failure_reason.PROVIDER_UNAVAILABLE}
        assert changes(before, page(metrics)) == {
            ("rotation_reconcile_error_total", frozenset(labels.items())): 1,
            ("sscsi_refreshes_total", frozenset({("provider", "vault"), ("result", "failed")})): 1,
            ("sscsi_refresh_failures_total", frozenset(reason.items())): 1,
            ("sscsi_refresh_duration_seconds_count", frozenset({("result", "failed")})): 1,
        }


class TestOurs:
    def test_a_provider_is_there_whole_from_its_first_use(self) -> None:
        metrics = NodeMetrics()
        metrics.publish_succeeded("vault", 0.1)
        samples = page(metrics)
        for name, label, values in (
            ("sscsi_refreshes_total", "result", ("changed", "unchanged", "failed")),
            ("sscsi_refresh_failures_total", "reason", failure_reason.REASONS),
            ("sscsi_provider_calls_total", "result", ("OK", "Unavailable", "AnswerInvalid")),
            (
                "sscsi_refreshes_put_off_total",
                "reason",
                ("rate", "concurrency", "circuit", "backoff", "tokens"),
            ),
        ):
            assert [value(samples, name, provider="vault", **{label: word}) for word in values] == [0] * len(
                values
            )
        assert value(samples, "sscsi_provider_calls_shared_total", provider="vault") == 0
        assert value(samples, "sscsi_provider_call_duration_seconds_count", provider="vault") == 0

    @pytest.mark.parametrize(
        ("result", "counted"),
        [*((result, result) for result in RESULTS), ("secret of somebody", "Unknown"), ("", "Unknown")],
    )
    def test_a_call_is_counted_by_a_result_of_a_fixed_set(self, result: str, counted: str) -> None:
        metrics = NodeMetrics()
        metrics.provider_called("vault", result, 0.1)
        assert value(page(metrics), "sscsi_provider_calls_total", provider="vault", result=counted) == 1
        assert value(page(metrics), "sscsi_provider_call_duration_seconds_count", provider="vault") == 1

    def test_shared_and_spared_calls_are_counted(self) -> None:
        metrics = NodeMetrics()
        metrics.provider_call_shared("vault")
        metrics.provider_call_spared("vault", "rate")
        samples = page(metrics)
        assert value(samples, "sscsi_provider_calls_shared_total", provider="vault") == 1
        assert value(samples, "sscsi_refreshes_put_off_total", provider="vault", reason="rate") == 1

    def test_stages_are_kept_apart_by_operation(self) -> None:
        metrics = NodeMetrics()
        metrics.observe_stages("publish", {"class": 0.5, "write": 0.25})
        metrics.observe_stages("refresh", {"write": 0.5})
        samples = page(metrics)
        assert value(samples, "sscsi_stage_duration_seconds_sum", operation="publish", stage="write") == 0.25
        assert value(samples, "sscsi_stage_duration_seconds_sum", operation="refresh", stage="write") == 0.5
        assert value(samples, "sscsi_stage_duration_seconds_count", operation="refresh", stage="class") == 0

    def test_the_stages_shown_from_the_start_are_those_that_the_room_has(self) -> None:
        found = set()
        for path in glob.glob(os.path.join(ROOT, "sscsi", "node", "*.py")):
            with open(path, encoding="utf-8") as file:
                for node in ast.walk(ast.parse(file.read())):
                    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".stage"):
                        found.add(ast.literal_eval(node.args[0]))
        assert found == {stage for stages in STAGES.values() for stage in stages}

    def test_a_refresh_before_its_time_is_not_late(self) -> None:
        metrics = NodeMetrics()
        metrics.refresh_lateness(-3.0)
        metrics.refresh_lateness(7.0)
        assert named(page(metrics), "sscsi_refresh_lateness_seconds_sum") == 7


class TestNobodyMakesSeries:
    def test_a_thousand_providers_are_as_many_lines_as_the_limit(self) -> None:
        metrics = NodeMetrics()
        for number in range(1000):
            metrics.publish_succeeded(f"p{number}", 0.1)
            metrics.provider_called(f"p{number}", "OK", 0.1)
        samples = page(metrics)
        values = {dict(labels)["provider"] for name, labels in samples if "provider" in dict(labels)}
        assert len(values) == PROVIDER_LIMIT + 2
        assert value(samples, "node_publish_total", provider=OTHER, **LINUX) == 1000 - PROVIDER_LIMIT
        assert len(samples) < 70 * (PROVIDER_LIMIT + 2) + 300

    def test_names_in_classes_that_no_provider_has_do_not_take_the_places_of_those_that_come_later(
        self,
    ) -> None:
        metrics = NodeMetrics()
        for number in range(1000):
            metrics.publish_failed(f"nobody{number}", ProviderNotFoundError("none"), 0.1)
        metrics.publish_succeeded("vault", 0.1)
        assert value(page(metrics), "node_publish_total", provider="vault", **LINUX) == 1

    def test_error_types_are_of_a_fixed_set_whatever_a_provider_says(self) -> None:
        for code in ("teapot", "", "x" * 10_000, 'a"b\n', "-1", "99"):
            assert error_type(ProviderAnswerError("no", provider_code=code)) in ERROR_TYPES


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("PermissionDenied", "PermissionDenied"),
        ("PERMISSION_DENIED", "PermissionDenied"),
        ("permissiondenied", "PermissionDenied"),
        (" NotFound ", "NotFound"),
        ("7", "PermissionDenied"),
        ("Canceled", "Canceled"),
        ("CANCELLED", "Canceled"),
        ("0", "Unknown"),
        ("OK", "Unknown"),
        ("SecretNotFound", "Unknown"),
        ("", "GRPCProviderError"),
    ],
)
def test_a_providers_own_code_is_a_code_of_grpc(code: str, word: str) -> None:
    assert error_type(ProviderAnswerError("no", provider_code=code)) == word


def every_error() -> list[type[SscsiError]]:
    found = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SscsiError)
    ]
    assert len(found) > 25
    return found


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_one_of_upstreams_words(kind: type[SscsiError]) -> None:
    error = kind.__new__(kind)
    error.__dict__.update(code=14, provider_code="")
    assert error_type(error) in UPSTREAM_WORDS


def test_upstreams_words_are_where_upstream_has_them() -> None:
    assert error_type(MountError("x")) == "FailedToMount"
    assert error_type(errors.TargetPathError("x")) == "FailedToEnsureMountPoint"
    assert error_type(errors.ContentTooLargeError("x")) == "FileWriteError"
    assert error_type(ProviderCallError("x", code=8)) == "GRPCProviderError"
    assert set(PROVIDER_CODES) == set(GO_NAMES.values()) - {GO_NAMES[grpc.StatusCode.OK]}


def test_threads_lose_no_count() -> None:
    metrics = NodeMetrics()

    def count() -> None:
        for _ in range(500):
            metrics.publish_succeeded("vault", 0.1)
            metrics.provider_called("vault", "OK", 0.1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        parse(text(metrics.families()))
    for thread in threads:
        thread.join()
    samples = page(metrics)
    assert value(samples, "node_publish_total", provider="vault", **LINUX) == 2000
    assert value(samples, "sscsi_provider_call_duration_seconds_count", provider="vault") == 2000
