"""README.md as a package index shows it: a page with no files beside it.

Links and pictures that lead to files of the repository would lead nowhere there, and there is no address to
make them whole with. So a link becomes its text with the file's name behind it, a picture its description.
"""

from __future__ import annotations

import re
from pathlib import Path

FENCE = re.compile(r"^(```.*?^```\n)", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"!\[([^\]]*)\]\((?!https?:)([^)\s]+)\)")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|mailto:|#)([^)\s]+)\)")


def read_index_page(readme: Path) -> str:
    """The page made of a README, in Markdown; blocks of code stay as they are."""
    parts = FENCE.split(readme.read_text(encoding="utf-8"))
    parts[::2] = [_without_files(part) for part in parts[::2]]
    return "".join(parts)


def _without_files(text: str) -> str:
    text = PICTURE.sub(r"*Picture, `\2`: \1.*", text)
    return LINK.sub(_named, text)


def _named(link: re.Match[str]) -> str:
    words, file = link[1], link[2].partition("#")[0]
    return f"`{file}`" if words == file else f"{words} (`{file}`)"
