"""The text that goes with a file of emoji: who made what is in it, and under which licences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OPENING = """# Attributions of the emoji data set

`emoji.npz` beside this file holds drawings and captions from the works below. Changes: the drawings
were rendered at {size} × {size} pixels and laid on {background}; variants in other skin tones were left
out; the captions were also turned into numbers by a text encoder. `python -m
benchmarks.data_sets.emoji` in flowprior's repository does all of it.

| style | work | by | licence | package |
|---|---|---|---|---|"""
ROW = (
    "| `{style}` | [{title}]({address}) | {author} | [{licence}]({licence_address}) "
    "| npm {package} {version} |"
)
CLOSING = """
The captions are the English names of emoji in emojibase-data (npm {captions[package]}
{captions[version]}, MIT, Copyright (c) 2017-2019 Miles Johnson), which has them from Unicode's CLDR
(Copyright © 1991 onwards Unicode, Inc., [Unicode License v3](https://www.unicode.org/license.txt)).
Their embeddings are by [all-MiniLM-L6-v2](https://www.sbert.net) (Apache-2.0), whose weights are not in
this package.

`Apache-2.0.txt` in the package is the text of Apache-2.0. CC-BY-4.0 asks for the credits above; its
text is at <https://creativecommons.org/licenses/by/4.0/legalcode>. The MIT licence of what Microsoft
Corporation (Copyright (c) Microsoft Corporation) and Miles Johnson hold the copyright of:

{mit}"""
MIT = """> Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
> associated documentation files (the "Software"), to deal in the Software without restriction, including
> without limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
> copies of the Software, and to permit persons to whom the Software is furnished to do so, subject to the
> following conditions:
>
> The above copyright notice and this permission notice shall be included in all copies or substantial
> portions of the Software.
>
> THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT
> LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN
> NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY,
> WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE
> SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
PERMISSIVE = ("Apache-2.0", "MIT", "CC-BY-4.0")


def attributions(about: Mapping[str, Any], size: int) -> str:
    """Markdown that names every source of a file of emoji.

    Args:
        about: what the file says about itself.
        size: side of its pictures, in pixels.
    """
    rows = [ROW.format_map(source) for source in about["sources"]]
    closing = CLOSING.format(captions=about["captions"], mit=MIT)
    return "\n".join([OPENING.format(size=size, background=about["background"]), *rows, closing])
