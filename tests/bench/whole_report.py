"""What the benchmark says of the whole appliance: memory by program, times, and both forms beside each other."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tests.bench.tree_memory import ProgramMemory, TreeMemory
from tests.bench.whole import FORKED
from tests.bench.whole_figures import (
    UPSTREAM_MIB,
    WholeFigures,
    WholeTarget,
    mib,
    whole_targets,
)
from tests.bench.whole_memory import WholeMemory

_NAME_WIDTH = 42
_WIDTH = 11


def document(whole: Mapping[str, WholeFigures]) -> dict[str, Any]:
    """Bytes and seconds, by form."""
    return {
        "targets": [
            {**dataclasses.asdict(target), "met": target.met}
            for form, figures in whole.items()
            if form == FORKED
            for target in whole_targets(figures)
        ],
        **{form: _form_document(figures) for form, figures in whole.items()},
    }


def lines(whole: Mapping[str, WholeFigures]) -> list[str]:
    """For people; nothing when nothing was measured."""
    if not whole:
        return []
    return [
        "the whole appliance: `sscsi run` forks its programs; a stock supervisord execs the same ones",
        *memory_lines({form: figures.memory for form, figures in whole.items()}),
        "",
        *_time_lines(whole),
        "",
        *target_lines(whole_targets(whole[FORKED])),
        "",
    ]


def memory_lines(memory: Mapping[str, WholeMemory]) -> list[str]:
    """By program, of each form."""
    first = next(iter(memory.values()))
    moments = (f"idle {first.idle_seconds:.0f} s", f"{first.volumes} volumes")
    columns = [f"{form}, {moment}" for form in memory for moment in moments]
    trees = [tree for each in memory.values() for tree in (each.idle, each.with_volumes)]
    result = [
        f"{'memory, MiB: share, and alone':<{_NAME_WIDTH}}"
        + "".join(f"{column:>{2 * _WIDTH}}" for column in columns)
    ]
    names = list(dict.fromkeys(name for tree in trees for name in tree.programs))
    result += [
        _line(name, [cell for tree in trees for cell in _cells(tree.programs.get(name))]) for name in names
    ]
    result.append(_line("all", [cell for tree in trees for cell in (tree.cost, _alone(tree))]))
    result.append(
        _line(
            "all, as the kernel's PSS and USS", [cell for tree in trees for cell in (tree.pss, tree.private)]
        )
    )
    if len(memory) > 1:
        result.append(_ratio_line(memory))
    result.append(
        f"upstream's three Go programs: {UPSTREAM_MIB[0]:.0f} MiB idle, {UPSTREAM_MIB[1]:.0f} with 50 volumes (PSS)"
    )
    if any(tree.unique is None for tree in trees):
        result.append(
            "the kernel tells no page numbers here (it takes CAP_SYS_ADMIN): shares are its PSS, which is too low"
            " by what others on the machine share, this benchmark among them"
        )
    return result


def _cells(program: ProgramMemory | None) -> tuple[int | None, int | None]:
    if program is None:
        return None, None
    if program.share is None:
        return program.pss, program.private
    return program.share, program.alone


def _alone(tree: TreeMemory) -> int:
    return sum(each.private if each.alone is None else each.alone for each in tree.programs.values())


def _line(name: str, cells: Sequence[int | None]) -> str:
    texts = ("-" if cell is None else f"{mib(cell):.1f}" for cell in cells)
    return f"{name:<{_NAME_WIDTH}}" + "".join(f"{text:>{_WIDTH}}" for text in texts)


def _ratio_line(memory: Mapping[str, WholeMemory]) -> str:
    (_, forked), (_, execed) = memory.items()
    ratios = (forked.idle.cost / execed.idle.cost, forked.with_volumes.cost / execed.with_volumes.cost)
    names = " to ".join(memory)
    return f"{names}: {ratios[0]:.2f} idle, {ratios[1]:.2f} with volumes"


def _time_lines(whole: Mapping[str, WholeFigures]) -> list[str]:
    whats = next(iter(whole.values())).times
    rounds = max(spread.rounds for spread in whats.values())
    header = f"{f'seconds, {rounds} rounds: median and longest':<{_NAME_WIDTH + 8}}" + "".join(
        f"{form:>{2 * _WIDTH}}" for form in whole
    )
    return [
        header,
        *(
            f"{what:<{_NAME_WIDTH + 8}}"
            + "".join(
                f"{figures.times[what].median:>{_WIDTH}.2f}{figures.times[what].longest:>{_WIDTH}.2f}"
                for figures in whole.values()
            )
            for what in whats
        ),
    ]


def target_lines(found: Sequence[WholeTarget]) -> list[str]:
    """Aims, with what was reached."""
    return [
        f"targets of the whole appliance, {FORKED}",
        *(
            f"  {'met    ' if each.met else 'not met'} {each.value:6.2f}  at most {each.limit:<5g} {each.what}"
            for each in found
        ),
    ]


def _form_document(figures: WholeFigures) -> dict[str, Any]:
    return {
        **memory_document(figures.memory),
        "seconds": {what: dataclasses.asdict(spread) for what, spread in figures.times.items()},
    }


def memory_document(memory: WholeMemory) -> dict[str, Any]:
    """Bytes, idle and with volumes."""
    return {
        "idle_seconds": memory.idle_seconds,
        "volumes": memory.volumes,
        "memory_bytes_idle": _tree_document(memory.idle),
        "memory_bytes_with_volumes": _tree_document(memory.with_volumes),
    }


def _tree_document(tree: TreeMemory) -> dict[str, Any]:
    return {
        "pss": tree.pss,
        "private": tree.private,
        "unique": tree.unique,
        "programs": {name: dataclasses.asdict(each) for name, each in tree.programs.items()},
    }
