"""How fast refreshes may go: places, the bucket, and the circuit."""

import pytest

from sscsi.node.call_observer import ProviderCallObserver
from sscsi.node.metrics import NodeMetrics
from sscsi.node.provider_gates import CIRCUIT, CONCURRENCY, OPEN_AFTER, RATE, ProviderGates, Refusal
from tests.support.hand_clock import HandClock


def make_gates(clock: HandClock, *, rate: float = 10, burst: int = 5, places: int = 100) -> ProviderGates:
    return ProviderGates(calls_per_second=rate, burst=burst, places=places, clock=clock)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def refused(refusal: Refusal | None) -> str:
    assert refusal is not None
    return refusal.reason


class TestBucket:
    def test_a_burst_and_then_the_rate(self, clock: HandClock) -> None:
        gates = make_gates(clock)
        begun = 0
        for _ in range(100):
            while gates.enter("vault") is None:
                gates.leave("vault")
                begun += 1
            clock.advance(0.1)
        assert begun == pytest.approx(5 + 99, abs=1)

    def test_a_refusal_says_when_the_next_may_begin(self, clock: HandClock) -> None:
        gates = make_gates(clock, burst=1)
        assert gates.enter("vault") is None
        refusal = gates.enter("vault")
        assert refused(refusal) == RATE
        assert refusal is not None
        assert refusal.retry_seconds == pytest.approx(0.1)
        clock.advance(refusal.retry_seconds)
        assert gates.enter("vault") is None

    def test_a_second_call_of_a_refresh_is_paid_for(self, clock: HandClock) -> None:
        gates = make_gates(clock, burst=2)
        assert gates.enter("vault") is None
        ProviderCallObserver(NodeMetrics(), gates).provider_call_repeated("vault")
        assert refused(gates.enter("vault")) == RATE

    def test_each_provider_has_its_own(self, clock: HandClock) -> None:
        gates = make_gates(clock, burst=1, places=1)
        assert gates.enter("vault") is None
        assert refused(gates.enter("vault")) == CONCURRENCY
        assert gates.enter("azure") is None


class TestPlaces:
    def test_no_more_at_once(self, clock: HandClock) -> None:
        gates = make_gates(clock, places=2)
        assert gates.enter("vault") is None
        assert gates.enter("vault") is None
        assert refused(gates.enter("vault")) == CONCURRENCY
        gates.leave("vault")
        assert gates.enter("vault") is None


class TestCircuit:
    def fail(self, gates: ProviderGates, times: int = OPEN_AFTER) -> None:
        for _ in range(times):
            gates.was_away("vault", "connection refused")

    def test_opens_after_so_many_in_a_row_and_tells_why(self, clock: HandClock) -> None:
        gates = make_gates(clock)
        self.fail(gates, OPEN_AFTER - 1)
        assert gates.enter("vault") is None
        gates.leave("vault")
        assert gates.trouble("vault") == ""
        self.fail(gates, 1)
        assert gates.enter("vault") == Refusal(reason=CIRCUIT, retry_seconds=5.0)
        assert gates.trouble("vault") == "connection refused"
        assert gates.circuits() == {"vault": True}

    def test_an_answer_in_between_begins_the_count_anew(self, clock: HandClock) -> None:
        gates = make_gates(clock)
        for _ in range(10):
            self.fail(gates, OPEN_AFTER - 1)
            gates.answered("vault")
        assert gates.enter("vault") is None

    def test_after_the_pause_one_tries_and_the_others_wait(self, clock: HandClock) -> None:
        gates = make_gates(clock)
        self.fail(gates)
        clock.advance(5.0)
        assert gates.enter("vault") is None
        assert refused(gates.enter("vault")) == CIRCUIT
        gates.answered("vault")
        gates.leave("vault")
        assert gates.circuits() == {"vault": False}
        assert gates.enter("vault") is None
        assert gates.enter("vault") is None

    def test_pauses_double_up_to_a_minute(self, clock: HandClock) -> None:
        gates = make_gates(clock)
        self.fail(gates)
        pauses = []
        for _ in range(6):
            refusal = gates.enter("vault")
            assert refusal is not None
            pauses.append(refusal.retry_seconds)
            clock.advance(refusal.retry_seconds)
            assert gates.enter("vault") is None
            self.fail(gates, 1)
            gates.leave("vault")
        assert pauses == [5, 10, 20, 40, 60, 60]

    def test_those_under_way_when_it_opens_do_not_lengthen_the_pause(self, clock: HandClock) -> None:
        gates = make_gates(clock)
        self.fail(gates, OPEN_AFTER + 50)
        assert gates.enter("vault") == Refusal(reason=CIRCUIT, retry_seconds=5.0)

    def test_one_who_tried_and_never_called_makes_room_for_the_next(self, clock: HandClock) -> None:
        gates = make_gates(clock)
        self.fail(gates)
        clock.advance(5.0)
        assert gates.enter("vault") is None
        gates.leave("vault")
        assert gates.enter("vault") is None

    def test_an_operator_goes_through(self, clock: HandClock) -> None:
        gates = make_gates(clock)
        self.fail(gates)
        assert gates.enter("vault", is_forced=True) is None


class TestBounds:
    def test_names_without_number_do_not_fill_the_memory(self, clock: HandClock) -> None:
        gates = make_gates(clock)
        for number in range(1000):
            gates.answered(f"provider-{number}")
        assert len(gates.circuits()) <= 64
