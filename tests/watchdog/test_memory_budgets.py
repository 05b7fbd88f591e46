import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecars.watchdog.memory_budgets import DEFAULT_BUDGETS, OverBudgets, format_budgets, parse_budgets
from tests.support.checkout import console_scripts

_MI = 2**20


def test_who_is_not_named_has_the_default() -> None:
    assert parse_budgets("") == DEFAULT_BUDGETS
    assert parse_budgets("node=1Gi") == {**DEFAULT_BUDGETS, "node": 2**30}


def test_a_program_can_have_no_budget() -> None:
    budgets = parse_budgets(" node=off , registrar=1.5Mi,")
    assert (budgets["node"], budgets["registrar"]) == (None, 3 * 2**19)


def test_every_program_of_the_appliance_has_a_default() -> None:
    rooms = {name.removeprefix("sscsi-") for name in console_scripts()} - {"sscsi", "launch"}
    assert rooms == set(DEFAULT_BUDGETS)
    assert all(DEFAULT_BUDGETS.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("node", "'node' is not PROGRAM=SIZE, like node=1Gi"),
        ("registrar=96Mi,768Mi", "'768Mi' is not PROGRAM=SIZE"),
        ("nod=1Gi", "'nod=1Gi': there is no program 'nod', only livenessprobe, node, "),
        ("=1Gi", "'=1Gi': there is no program ''"),
        ("node=", "'node=': '' is not a size; write it like 64Mi"),
        ("node=768MB", "'node=768MB': '768MB' is not a size; write it like 64Mi, 1.5Gi or 4194304, or off"),
        ("node=1Gi,registrar=64mi", "'registrar=64mi': '64mi' is not a size"),
        ("node=-1", "'node=-1': '-1' is not a size"),
        ("node=0", "'node=0': nothing runs in no memory; to have no budget, write off"),
        ("node=1Gi,node=2Gi", "'node=2Gi': node is there twice"),
        ("node=OFF", "'node=OFF': 'OFF' is not a size"),
    ],
)
def test_a_bad_budget_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_budgets(text)


def test_the_third_measurement_in_a_row_is_one_too_many_and_the_count_begins_anew() -> None:
    over = OverBudgets({"node": 100})
    assert [over.measured("node", 1, 101) for _ in range(7)] == [
        False,
        False,
        True,
        False,
        False,
        True,
        False,
    ]


def test_the_budget_itself_is_not_over_it() -> None:
    over = OverBudgets({"node": 100})
    assert not any(over.measured("node", 1, 100) for _ in range(5))


def test_one_measurement_within_the_budget_begins_the_count_anew() -> None:
    over = OverBudgets({"node": 100})
    assert not any(over.measured("node", 1, size) for size in (101, 101, 100, 101, 101, 99))


def test_another_process_of_the_program_is_counted_anew() -> None:
    over = OverBudgets({"node": 100})
    assert [over.measured("node", pid, 101) for pid in (1, 1, 2, 2, 2)] == [False] * 4 + [True]


@pytest.mark.parametrize("program", ["node", "nobody"])
def test_without_a_budget_nothing_is_over_it(program: str) -> None:
    over = OverBudgets({"node": None})
    assert not any(over.measured(program, 1, 2**60) for _ in range(5))
    assert over.budget(program) is None


_SHOWN_WHOLE = st.integers(1, 1023).map(lambda n: n * _MI) | st.integers(1, 64).map(lambda n: n * 2**29)


@given(st.dictionaries(st.sampled_from(list(DEFAULT_BUDGETS)), st.none() | _SHOWN_WHOLE))
def test_budgets_are_read_as_they_are_written(budgets: dict[str, int | None]) -> None:
    assert parse_budgets(format_budgets(budgets)) == {**DEFAULT_BUDGETS, **budgets}


@given(st.lists(st.tuples(st.integers(1, 2), st.booleans()), max_size=40))
def test_it_is_too_many_only_when_three_in_a_row_of_one_process_are_over(
    steps: list[tuple[int, bool]],
) -> None:
    over = OverBudgets({"node": 100})
    row: list[int] = []
    for pid, is_over in steps:
        row = [*(row if set(row) <= {pid} else []), pid] if is_over else []
        assert over.measured("node", pid, 101 if is_over else 100) is (len(row) == 3)
        row = [] if len(row) == 3 else row
