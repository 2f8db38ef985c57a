"""Several names in one text, separated by a character that may stand inside a name as well."""

from __future__ import annotations

from collections.abc import Collection


def listed_names(text: str, known: Collection[str], separator: str = ",") -> list[str]:
    """The pieces of ``text`` between separators; those that make a known name together are one.

    ``"CD4-positive, alpha-beta T cell,B cell"`` is two names where the first is known as it stands. From the
    left, the longest known name is taken. Blanks around a piece do not count, unless a known name has them.
    """
    pieces, found = text.split(separator), []
    while pieces:
        ends = range(len(pieces), 0, -1)
        joined = {end: separator.join(pieces[:end]) for end in ends}
        joined = {end: text if text in known else text.strip() for end, text in joined.items()}
        end = next((end for end in ends if joined[end] in known), 1)
        found.append(joined[end])
        pieces = pieces[end:]
    return found
