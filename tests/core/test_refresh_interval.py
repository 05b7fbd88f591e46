"""Intervals of sense and nonsense: which one counts, and what is told."""

import pytest

from sscsi.core.annotations import INTERVAL_ATTRIBUTE
from sscsi.core.refresh_interval import Interval, NodeInterval, choose_interval, node_interval

NODE = NodeInterval(seconds=120.0, floor_seconds=10.0)
NONSENSE = ("-1s", "often", "10", "1d", "", " 1m", "1m ", "∞", "NaNs", "-0.5h", "9" * 400 + "h")


class TestChoice:
    @pytest.mark.parametrize(
        ("attribute", "annotation", "seconds"),
        [
            ("", "", 120.0),
            ("", "30s", 30.0),
            ("1h", "", 3600.0),
            ("1h", "30s", 3600.0),
            ("0", "30s", 0.0),
            ("", "0s", 0.0),
            ("10s", "", 10.0),
        ],
    )
    def test_the_volume_goes_before_the_class_and_the_class_before_the_node(
        self, attribute: str, annotation: str, seconds: float
    ) -> None:
        attributes = {INTERVAL_ATTRIBUTE: attribute} if attribute else {}
        assert choose_interval(NODE, attributes, annotation) == Interval(seconds=seconds)

    @pytest.mark.parametrize("text", [text for text in NONSENSE if text])
    def test_nonsense_is_named_with_its_place_and_the_default_is_used(self, text: str) -> None:
        of_class = choose_interval(NODE, {}, text)
        of_volume = choose_interval(NODE, {INTERVAL_ATTRIBUTE: text}, "")
        assert of_class.seconds == of_volume.seconds == 120.0
        assert "annotation secrets-store.csi.k8s.io/rotation-poll-interval" in of_class.problems[0]
        assert "volumeAttributes.rotationPollInterval" in of_volume.problems[0]
        for problem in (*of_class.problems, *of_volume.problems):
            assert text[:50] in problem
            assert problem.endswith("the default of 2m is used")
            assert len(problem) < 400

    def test_below_the_floor_is_nonsense_and_zero_is_not(self) -> None:
        chosen = choose_interval(NODE, {}, "9s")
        assert chosen.seconds == 120.0
        assert (
            "9s is below the floor of this node, 10s (--rotation-poll-interval-floor)" in chosen.problems[0]
        )
        assert choose_interval(NODE, {}, "0") == Interval(seconds=0.0)

    def test_nonsense_of_the_volume_leaves_the_class_its_say(self) -> None:
        chosen = choose_interval(NODE, {INTERVAL_ATTRIBUTE: "soon"}, "30s")
        assert (chosen.seconds, len(chosen.problems)) == (30.0, 1)
        assert chosen.problems[0].endswith("the class's interval of 30s is used")


class TestFlags:
    @pytest.mark.parametrize(
        ("interval", "floor", "node"),
        [
            ("2m", None, NodeInterval(seconds=120.0, floor_seconds=10.0)),
            ("0", None, NodeInterval(seconds=0.0, floor_seconds=10.0)),
            ("1h", "1m", NodeInterval(seconds=3600.0, floor_seconds=60.0)),
            ("300ms", None, NodeInterval(seconds=0.3, floor_seconds=0.3)),
            ("2m", "0", NodeInterval(seconds=120.0, floor_seconds=0.0)),
            ("0", "1m", NodeInterval(seconds=0.0, floor_seconds=60.0)),
        ],
    )
    def test_the_default_floor_never_contradicts_the_interval(
        self, interval: str, floor: str | None, node: NodeInterval
    ) -> None:
        assert node_interval(interval, floor) == (node, ())

    @pytest.mark.parametrize("text", NONSENSE)
    def test_nonsense_in_a_flag_is_named_and_the_default_is_used(self, text: str) -> None:
        node, problems = node_interval(text, None)
        assert node == NODE
        assert len(problems) == 1
        assert problems[0].startswith("flag --rotation-poll-interval: ")
        node, problems = node_interval("2m", text)
        assert node == NODE
        assert len(problems) == 1
        assert problems[0].startswith("flag --rotation-poll-interval-floor: ")

    def test_an_interval_below_a_floor_that_is_given(self) -> None:
        node, problems = node_interval("30s", "1m")
        assert node == NodeInterval(seconds=120.0, floor_seconds=60.0)
        assert "30s is below the floor of this node, 1m" in problems[0]
        node, problems = node_interval("30s", "5m")
        assert node == NodeInterval(seconds=300.0, floor_seconds=300.0)
        assert problems[0].endswith("the default of 5m is used")
