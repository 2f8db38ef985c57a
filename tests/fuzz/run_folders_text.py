"""Mutators of JSON, JSON lines and TOML: keys, values of another kind, numbers out of bounds, bad text."""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

import tomli_w

from tests.fuzz.run_folders_mutators import (
    TEXT,
    NothingToChange,
    Site,
    file_format,
    mutator,
)

Place = tuple[str | int, ...]
DEPTH = 100_000
MARK = "a value that text takes the place of"
OTHERS: tuple[Any, ...] = (None, True, 7, -1.5, "words", "", [], [1, [2]], {}, {"a": {"b": 1}})


@mutator("key-removed", *TEXT)
def key_removed(site: Site, chance: random.Random) -> str:
    """One key of any depth is gone."""
    return _edit(site, chance, lambda value: isinstance(value, object), None)


@mutator("value-of-another-type", *TEXT)
def value_of_another_type(site: Site, chance: random.Random) -> str:
    """One value becomes one of another type."""
    return _edit(site, chance, lambda _: True, lambda old: chance.choice(_unlike(old)))


@mutator("top-of-another-type", "json", "jsonl")
def top_of_another_type(site: Site, chance: random.Random) -> str:
    """The whole document, or a line of it, becomes a list, number or text."""
    other = chance.choice(["[]", "7", '"words"', "null", "[[1, 2], [3]]", "{}"])
    lines = site.path.read_text(encoding="utf-8").splitlines()
    if file_format(site.path) == "jsonl":
        lines[chance.randrange(len(lines))] = other
    else:
        lines = [other]
    site.path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"a document became {other}"


@mutator("number-changed", *TEXT)
def number_changed(site: Site, chance: random.Random) -> str:
    """A number becomes another that is possible too."""
    return _edit(site, chance, _is_number, lambda old: old + 1 if isinstance(old, int) else old * 1.5)


@mutator("number-1e308", *TEXT)
def number_1e308(site: Site, chance: random.Random) -> str:
    """A number becomes 1e308."""
    return _edit(site, chance, _is_number, lambda _: 1e308)


@mutator("number-not-finite", *TEXT)
def number_not_finite(site: Site, chance: random.Random) -> str:
    """A number becomes NaN or an infinity."""
    return _edit(site, chance, _is_number, lambda _: float(chance.choice(["nan", "inf", "-inf"])))


@mutator("number-negative", *TEXT)
def number_negative(site: Site, chance: random.Random) -> str:
    """A number becomes negative."""
    return _edit(site, chance, _is_number, lambda old: -abs(old) - 1)


@mutator("number-huge", *TEXT)
def number_huge(site: Site, chance: random.Random) -> str:
    """A number becomes a whole number that asks for much memory, or that no machine word holds."""
    return _edit(site, chance, _is_number, lambda _: chance.choice([10**8, 2**40, 2**63, 10**30]))


@mutator("number-of-5000-digits", *TEXT)
def number_of_5000_digits(site: Site, chance: random.Random) -> str:
    """A number becomes one of more digits than Python reads."""
    return _edit(site, chance, _is_number, lambda _: MARK, "1" * 5000)


@mutator("deep-nesting", *TEXT)
def deep_nesting(site: Site, chance: random.Random) -> str:
    """A value becomes 100,000 brackets."""
    return _edit(site, chance, lambda _: True, lambda _: MARK, "[" * DEPTH + "]" * DEPTH)


@mutator("duplicate-key", *TEXT)
def duplicate_key(site: Site, chance: random.Random) -> str:
    """A key stands twice, the second time with another value."""
    form = file_format(site.path)
    lines = site.path.read_text(encoding="utf-8").splitlines()
    if form == "toml":
        named = [line for line in lines if "=" in line]
        lines.append(chance.choice(named).split("=")[0] + "= 7")
        site.path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return f"added {lines[-1]}"
    documents = _documents(site)
    row = chance.randrange(len(documents))
    if not isinstance(documents[row], dict) or not documents[row]:
        raise NothingToChange
    key = chance.choice(sorted(documents[row]))
    texts = [json.dumps(document) for document in documents]
    texts[row] = f"{texts[row][:-1]}, {json.dumps(key)}: 7}}"
    site.path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return f"key {key} a second time, with 7"


@mutator("text-changed", *TEXT)
def text_changed(site: Site, chance: random.Random) -> str:
    """A text becomes one with markup, a backslash, control characters, a path, or a megabyte."""
    texts = [
        "[/b]",
        "[bold]x",
        "back\\slash\\1",
        "a\nb\tc\x1b[31m",
        "../../etc/passwd",
        "x" * 2**20,
        "é\u2028",
    ]
    return _edit(site, chance, lambda value: isinstance(value, str), lambda _: chance.choice(texts))


@mutator("invalid-utf-8", *TEXT)
def invalid_utf_8(site: Site, chance: random.Random) -> str:
    """A byte that no UTF-8 text holds."""
    data = bytearray(site.path.read_bytes())
    place = chance.randrange(len(data) + 1)
    data[place:place] = chance.choice([b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\0"])
    site.path.write_bytes(data)
    return f"bad bytes at {place}"


@mutator("byte-order-mark", *TEXT)
def byte_order_mark(site: Site, chance: random.Random) -> str:
    """A byte order mark in front."""
    site.path.write_bytes(b"\xef\xbb\xbf" + site.path.read_bytes())
    return "byte order mark"


@mutator("crlf", *TEXT)
def crlf(site: Site, chance: random.Random) -> str:
    """Lines end as on Windows."""
    site.path.write_bytes(site.path.read_bytes().replace(b"\n", b"\r\n"))
    return "CRLF"


@mutator("line-removed", *TEXT)
def line_removed(site: Site, chance: random.Random) -> str:
    """One line is gone."""
    lines = site.path.read_bytes().splitlines(keepends=True)
    place = chance.randrange(len(lines))
    site.path.write_bytes(b"".join(lines[:place] + lines[place + 1 :]))
    return f"line {place + 1} removed"


def _edit(
    site: Site,
    chance: random.Random,
    wanted: Callable[[Any], bool],
    change: Callable[[Any], Any] | None,
    text: str = "",
) -> str:
    """Change a random value that is ``wanted``, or remove it; :data:`MARK` is replaced by ``text``."""
    documents = _documents(site)
    places = [
        (row, place)
        for row, document in enumerate(documents)
        for place, value in _values(document)
        if wanted(value)
    ]
    if not places:
        raise NothingToChange
    row, place = chance.choice(places)
    holder = documents[row]
    for step in place[:-1]:
        holder = holder[step]
    name = ".".join(map(str, place))
    if change is None:
        del holder[place[-1]]
        said = f"{name} removed"
    else:
        old, holder[place[-1]] = holder[place[-1]], change(holder[place[-1]])
        said = f"{name}: {_short(old)} -> {_short(text or holder[place[-1]])}"
    _write(site, documents, text)
    return said


def _documents(site: Site) -> list[Any]:
    text = site.path.read_text(encoding="utf-8")
    form = file_format(site.path)
    if form == "toml":
        return [tomllib.loads(text)]
    return [json.loads(text)] if form == "json" else [json.loads(line) for line in text.splitlines()]


def _write(site: Site, documents: list[Any], text: str) -> None:
    form = file_format(site.path)
    try:
        if form == "toml":
            written = tomli_w.dumps(documents[0])
        else:
            indent = 2 if form == "json" else None
            written = "\n".join(json.dumps(document, indent=indent) for document in documents) + "\n"
    except TypeError as error:  # TOML has no null
        raise NothingToChange from error
    site.path.write_text(written.replace(json.dumps(MARK), text), encoding="utf-8")


def _values(document: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every value below the top, containers included, with the keys that lead to it."""
    pairs: list[tuple[str | int, Any]] = []
    if isinstance(document, dict):
        pairs = [(key, document[key]) for key in document]
    elif isinstance(document, list):
        pairs = list(enumerate(document))
    for key, value in pairs:
        yield (*place, key), value
        yield from _values(value, (*place, key))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _unlike(old: Any) -> list[Any]:
    return [other for other in OTHERS if type(other) is not type(old)]


def _short(value: Any) -> str:
    return repr(value)[:60]
