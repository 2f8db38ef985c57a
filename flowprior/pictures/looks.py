"""How settings are told apart: one marker and one colour each, and names as short as they can be."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from flowprior.pictures.sheet import clipped

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito (2008), told apart by the colour-blind, too; their yellow is too light for lines on white."""
LONGEST_NAME = 60
"""Letters of a name that a legend below a chart has room for."""
MARKERS = "os^DvPX*<>ph"
_SPEC = re.compile(r"([\w.-]+):(\w+=\S*[^\s,])")
_BETWEEN_OPTIONS = re.compile(r",(?=\w+=)")


def look(number: int) -> dict[str, Any]:
    """Colour and marker of the setting of this number: no two of twelve have one marker."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Name -> the same with no more options of components than tell the names apart.

    ``gmm:covariance=lowrank,rank=64 + ot`` is ``gmm + ot`` where it alone would be called so; beside one of
    ``rank=16`` it is ``gmm:rank=64 + ot``. Names without options stay as they are.
    """
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(names):
        alike[_SPEC.sub(r"\1", name)].append(name)
    found = {name: _shortened(name, group) for group in alike.values() for name in group}
    return found if len(set(found.values())) == len(found) else {name: name for name in found}


def legible_names(names: Sequence[str]) -> dict[str, str]:
    """As :func:`short_names`, cut where they are long and differ in their first letters."""
    short = short_names(names)
    cut = {name: clipped(short[name], LONGEST_NAME) for name in names}
    return cut if len(set(cut.values())) == len(cut) else short


def _shortened(name: str, alike: Sequence[str]) -> str:
    """``name`` without the options that all of these names have in the same place."""
    own = [_option_sets(other) for other in alike]
    comparable = len({len(sets) for sets in own}) == 1
    shared = iter([set.intersection(*sets) if comparable else set() for sets in zip(*own, strict=False)])

    def differing(spec: re.Match[str]) -> str:
        common = next(shared, set())
        kept = [option for option in _BETWEEN_OPTIONS.split(spec[2]) if option not in common]
        return spec[1] + (":" + ",".join(kept) if kept else "")

    return _SPEC.sub(differing, name)


def _option_sets(name: str) -> list[set[str]]:
    """The options of each component that a name holds."""
    return [set(_BETWEEN_OPTIONS.split(spec[2])) for spec in _SPEC.finditer(name)]
