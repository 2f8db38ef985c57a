"""Named ways to damage a file: a registry that the files of mutators fill, by the format they apply to.

A mutator gets a :class:`Site` and a seeded generator, changes the file in place and says what it did. One
that finds nothing to change raises :class:`NothingToChange`; a bit is flipped instead.
"""

from __future__ import annotations

import json
import random
import tomllib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ANY = "any"
TEXT = ("json", "jsonl", "toml")


class NothingToChange(Exception):
    """The mutator does not apply to what this file holds."""


@dataclass(frozen=True)
class Site:
    """Where a mutator works.

    Attributes:
        path: the file to change.
        siblings: other files of the same run, those of the same role first.
        twin: the file of the same role in a run of another seed; None where it has none.
        flow: the saved flow that the file belongs to; None where it belongs to none.
        canary: a path that comes into being only where a pickle that the file holds is run.
        scratch: a folder for temporary files.
    """

    path: Path
    siblings: tuple[Path, ...]
    twin: Path | None
    flow: Path | None
    canary: Path
    scratch: Path


Apply = Callable[[Site, random.Random], str]


@dataclass(frozen=True)
class Mutator:
    """A named way to damage a file of certain formats."""

    name: str
    formats: tuple[str, ...]
    apply: Apply


MUTATORS: dict[str, Mutator] = {}


def mutator(name: str, *formats: str) -> Callable[[Apply], Apply]:
    """Register a function as the mutator ``name`` of files of ``formats``; of any where none is given."""

    def register(apply: Apply) -> Apply:
        MUTATORS[name] = Mutator(name, formats or (ANY,), apply)
        return apply

    return register


def mutators_of(form: str) -> list[str]:
    """Names of the mutators of files of format ``form``, sorted."""
    return sorted(name for name, one in MUTATORS.items() if ANY in one.formats or form in one.formats)


def mutate(name: str, site: Site, chance: random.Random) -> str:
    """Damage the file and say how."""
    try:
        return MUTATORS[name].apply(site, chance)
    except NothingToChange:
        return f"{MUTATORS['bit-flip'].apply(site, chance)} (instead of {name})"


def file_format(path: Path) -> str:
    """safetensors, torch, png, json, jsonl, toml or other, by what the file holds and not by its name."""
    data = path.read_bytes()
    if data[:8].startswith(b"\x89PNG"):
        return "png"
    if data[:2] == b"PK" and zipfile.is_zipfile(path):
        return "torch"
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8:
        return "safetensors"
    try:
        return _text_format(data.decode("utf-8"))
    except UnicodeDecodeError:
        return "other"


def _text_format(text: str) -> str:
    if _parses(json.loads, text):
        return "json"
    lines = text.splitlines()
    if lines and all(_parses(json.loads, line) for line in lines):
        return "jsonl"
    return "toml" if text.strip() and _parses(tomllib.loads, text) else "other"


def _parses(read: Callable[[str], object], text: str) -> bool:
    try:
        return isinstance(read(text), dict | list)
    except ValueError:
        return False
