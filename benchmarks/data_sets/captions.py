"""Captions of emoji: the English names of Unicode's CLDR, as emojibase-data has them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data_sets.packages import Package

WHO = {"person", "people", "man", "men", "woman", "women", "boy", "girl", "child", "old", "older", "and"}
"""Words in which captions of nearly the same picture differ; the way that somebody faces is left out, too."""
VARIATION = "FE0F"
"""Asks for the coloured picture of a character; icon sets leave it out at will."""


@dataclass(frozen=True)
class Caption:
    """One emoji.

    Attributes:
        id: its code points without variation selectors, such as ``1F468-200D-1F692``.
        text: its name, such as ``"man firefighter"``.
        group: such as ``"people-body"``.
        family: captions with the same one differ in who is drawn.
        unicode_name: of its character, or an empty text for a sequence of several.
    """

    id: str
    text: str
    group: str
    family: str
    unicode_name: str = ""


def read_captions(package: Package, folder: Path) -> list[Caption]:
    """The emoji that have a group, in Unicode's order, without those of other skin tones."""
    groups = package.read_json(folder, "meta/groups.json")["groups"]
    names = package.read_json(folder, "meta/unicode-names.json")
    entries = [e for e in package.read_json(folder, "en/data.json") if e.get("group") is not None]
    return [
        Caption(
            code(entry["hexcode"]),
            entry["label"],
            groups[str(entry["group"])],
            family(entry["label"]),
            names.get(entry["hexcode"], ""),
        )
        for entry in sorted(entries, key=lambda entry: entry["order"])
    ]


def code(hexcode: str) -> str:
    """Code points in capitals, without variation selectors."""
    return "-".join(point for point in hexcode.upper().split("-") if point != VARIATION)


def family(text: str) -> str:
    """The words of a caption that do not tell who is drawn, or ``"person"`` if all of them do."""
    words = re.findall(r"[^\s:,]+", text.lower().replace("facing right", ""))
    return " ".join(word for word in words if word not in WHO) or "person"


def joined_families(families: Iterable[str], twins: Iterable[tuple[int, int]]) -> list[str]:
    """The families, where those of each pair of ``twins`` (places of captions) have become one.

    It is named after the first of them in the alphabet.
    """
    families = list(families)
    name = {family: family for family in families}

    def first(family: str) -> str:
        while name[family] != family:
            family = name[family]
        return family

    for left, right in twins:
        low, high = sorted((first(families[left]), first(families[right])))
        name[high] = low
    return [first(family) for family in families]
