"""Reading Prometheus' text format back, strictly: what this takes, Prometheus takes."""

import re
from collections.abc import Mapping

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]
"""The value of each sample by its name and its labels."""

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.*)\}})? (\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)', re.DOTALL)
_HEAD = re.compile(rf"# (HELP|TYPE) ({_NAME}) (.*)", re.DOTALL)
_ESCAPES = {"\\\\": "\\", "\\n": "\n", '\\"': '"'}
_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "gauge": ("",), "counter": ("",)}


def parse(text: str) -> Samples:
    """Every sample; fails for a line that is wrong, a sample outside its family, or one that comes twice."""
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    kinds: dict[str, str] = {}
    assert not text or text.endswith("\n")
    for line in text.split("\n")[:-1]:
        if head := _HEAD.fullmatch(line):
            word, name, rest = head.groups()
            if word == "TYPE":
                assert name not in kinds, f"{name} is there twice"
                kinds[name] = rest
            family = name
            continue
        match = _SAMPLE.fullmatch(line)
        assert match, f"no sample: {line!r}"
        name, labels, value = match.groups()
        assert name in {family + suffix for suffix in _SUFFIXES[kinds[family]]}, f"{name} is not of {family}"
        key = name, frozenset(_labels(labels or ""))
        assert key not in samples, f"{key} is there twice"
        samples[key] = float(value)
    return samples


def named(samples: Samples, name: str, **labels: str) -> float:
    """The value of the only sample of that name that has these labels, whatever others it has."""
    found = [value for (own, pairs), value in samples.items() if own == name and pairs >= set(labels.items())]
    assert len(found) == 1, f"{name}{labels}: {len(found)} samples"
    return found[0]


def names(samples: Samples) -> set[str]:
    return {name for name, _ in samples}


def _labels(text: str) -> list[tuple[str, str]]:
    found, position = [], 0
    while position < len(text):
        match = _LABEL.match(text, position)
        assert match, f"no label: {text[position:]!r}"
        value = re.sub(r"\\.", lambda escape: _ESCAPES[escape[0]], match[2], flags=re.DOTALL)
        found.append((match[1], value))
        position = match.end()
    return found
