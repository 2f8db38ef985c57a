"""Drawings of icon sets in Iconify's format: which of them shows which emoji, and how it becomes pixels.

Not every set says which characters its icons are, and names change from one version of Unicode to the next.
So a drawing is found by all names that an emoji has: the set's own, the caption's, those that the other sets
give it or gave it before, and Unicode's.
"""

from __future__ import annotations

import io
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.data_sets.captions import Caption, code
from flowprior.errors import InputError

BACKGROUND = "white"
FLIP = "hFlip"


@dataclass(frozen=True)
class IconSet:
    """The drawings of one style.

    Attributes:
        icons: what its ``icons.json`` holds.
        characters: name of the drawing of each character, where its ``chars.json`` says so.
        info: what its ``info.json`` holds.
    """

    icons: Mapping[str, Any]
    characters: Mapping[str, str]
    info: Mapping[str, Any]

    def find(self, names: Sequence[str]) -> str | None:
        """The first of the names that the set knows."""
        aliases = self.icons.get("aliases", {})
        return next((name for name in names if name in self.icons["icons"] or name in aliases), None)

    def names(self) -> dict[str, list[str]]:
        """All names of each character that the set says: its drawing's, and those that this had before."""
        others = defaultdict(list)
        for name, alias in self.icons.get("aliases", {}).items():
            others[alias["parent"]].append(name)
        found = defaultdict(list)
        for character, name in sorted(self.characters.items()):
            drawing = self.icons.get("aliases", {}).get(name, {}).get("parent", name)
            found[code(character)] += [name, drawing, *others[drawing]]
        return found

    def svg(self, name: str) -> str:
        """A drawing, centred in a square, as a whole SVG document.

        Raises:
            InputError: an alias turns its drawing in a way that is not known.
        """
        alias = self.icons.get("aliases", {}).get(name, {})
        icon = self.icons["icons"][alias.get("parent", name)]
        defaults = {"left": 0, "top": 0, "width": 16, "height": 16} | dict(self.icons)
        left, top, width, height = (
            icon.get(key, defaults[key]) for key in ("left", "top", "width", "height")
        )
        body = icon["body"]
        if set(alias) - {"parent", FLIP}:
            raise InputError(
                f"drawing '{name}': expected an alias with parent and {FLIP}, got {sorted(alias)}"
            )
        if alias.get(FLIP):
            body = f'<g transform="translate({2 * left + width} 0) scale(-1 1)">{body}</g>'
        side = max(width, height)
        left, top = left - (side - width) / 2, top - (side - height) / 2
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{left:g} {top:g} {side} {side}">{body}</svg>'
        )


def find_drawings(captions: Sequence[Caption], sets: Mapping[str, IconSet]) -> list[tuple[int, str, str]]:
    """(place of the caption, style, SVG) of all that is drawn, in the order of captions, then of styles."""
    known = {style: icon_set.names() for style, icon_set in sets.items()}
    found = []
    for place, caption in enumerate(captions):
        shared = [spelled(caption.text), *_flag_names(caption.text)]
        shared += [name for names in known.values() for name in names.get(caption.id, [])]
        squeezed = [name.replace("-", "") for name in (*shared, spelled(caption.unicode_name))]
        for style, icon_set in sets.items():
            name = icon_set.find([*known[style].get(caption.id, [])[:1], *shared, *squeezed])
            if name is not None:
                found.append((place, style, icon_set.svg(name)))
    return found


def spelled(text: str) -> str:
    """A text as icons are named: ``"Côte d’Ivoire"`` is ``"cote-divoire"``."""
    plain = unicodedata.normalize("NFKD", text.lower()).replace("’", "").replace("'", "").replace("&", "and")
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return re.sub(r"[^a-z0-9]+", "-", plain.replace("#", "hash").replace("*", "asterisk")).strip("-")


def _flag_names(text: str) -> list[str]:
    kind, _, country = text.partition(": ")
    return [f"flag-for-{spelled(country)}", f"flag-for-flag-{spelled(country)}"] if kind == "flag" else []


def render(drawing: str, size: int) -> np.ndarray:
    """Pixels uint8 ``[size, size, 3]`` of an SVG document, what is transparent laid on white."""
    import resvg_py

    options = {"background": BACKGROUND, "skip_system_fonts": True}
    png = resvg_py.svg_to_bytes(svg_string=drawing, width=size, height=size, **options)
    with Image.open(io.BytesIO(bytes(png))) as picture:
        return np.asarray(picture.convert("RGB"))
