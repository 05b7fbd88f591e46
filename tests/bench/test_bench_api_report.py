"""What is said of the appliance on the Kubernetes API."""

from tests.bench.api_burst import Burst
from tests.bench.api_report import ApiReport
from tests.bench.api_requests import PUBLISH, ApiRequests, Asked
from tests.bench.tree_memory import ProgramMemory, TreeMemory
from tests.bench.whole import EXECED, FORKED
from tests.bench.whole_memory import WholeMemory

MIB = 1 << 20


def memory(mib: int) -> WholeMemory:
    program = ProgramMemory(pss=mib * MIB, private=mib * MIB, share=mib * MIB, alone=mib * MIB)
    tree = TreeMemory(programs={"statussync": program})
    return WholeMemory(idle_seconds=60.0, idle=tree, volumes=100, with_volumes=tree, errors=[])


def burst(*errors: str) -> Burst:
    return Burst(
        volumes=100, answers=[float(n) for n in range(1, 101)], right_seconds=25.0, errors=list(errors)
    )


def report(*errors: str) -> ApiReport:
    return ApiReport(
        memory={FORKED: memory(101), EXECED: memory(150)},
        requests=ApiRequests(steps={PUBLISH: Asked(requests=1.0, writes=1.0)}, errors=[]),
        with_api=burst(),
        without_api=burst(*errors),
    )


def test_a_target_is_held_against_the_forked_form() -> None:
    assert (report().target.value, report().target.met) == (101.0, False)


def test_answers_are_told_by_their_median_and_the_last_but_one_percent() -> None:
    assert report().document()["at_once"]["with_api_server"] == {
        "volumes": 100,
        "p50": 50.5,
        "p99": 99.0,
        "right_seconds": 25.0,
    }
    assert any(line.split()[-3:] == ["50.50", "99.00", "25.0"] for line in report().lines())


def test_a_call_that_failed_is_an_error_of_the_report() -> None:
    assert report().errors == []
    assert report("refused").errors == ["refused"]
