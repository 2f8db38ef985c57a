"""Which letters the font of pictures has: the others are shown escaped, instead of as boxes and warnings."""

from __future__ import annotations

from functools import lru_cache


def drawable(text: str) -> str:
    """The text, with an escape such as ``\\u732b`` in place of each letter that the font lacks."""
    if text.isascii() and text.isprintable():
        return text
    letters = _letters(_font())
    return "".join(c if c == "\n" or ord(c) in letters else ascii(c)[1:-1] for c in text)


def _font() -> str:
    """File of the font that matplotlib writes with."""
    from matplotlib.font_manager import FontProperties, findfont

    return str(findfont(FontProperties()))


@lru_cache(4)
def _letters(font: str) -> frozenset[int]:
    """Code points that a font has glyphs for."""
    from matplotlib.font_manager import get_font

    return frozenset(get_font(font).get_charmap())
