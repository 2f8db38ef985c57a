"""Mutators that know nothing of a file's format: bits, bytes, blocks, and other things in its place."""

from __future__ import annotations

import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzz.run_folders_mutators import NothingToChange, Site, mutator

BLOCK = 64
SPARSE = 3 << 30


@mutator("bit-flip")
def bit_flip(site: Site, chance: random.Random) -> str:
    """One bit."""
    return _flip(site, chance, 1)


@mutator("bit-flips")
def bit_flips(site: Site, chance: random.Random) -> str:
    """Up to 64 bits anywhere."""
    return _flip(site, chance, chance.randint(2, 64))


@mutator("bit-flip-near-the-start")
def bit_flip_near_the_start(site: Site, chance: random.Random) -> str:
    """One bit of the first 256 bytes, where headers are."""
    return _flip(site, chance, 1, 256)


@mutator("byte-random")
def byte_random(site: Site, chance: random.Random) -> str:
    """One byte becomes another."""
    data = _read(site)
    place = chance.randrange(len(data))
    data[place] = (data[place] + chance.randint(1, 255)) % 256
    site.path.write_bytes(data)
    return f"byte {place} set to {data[place]}"


@mutator("truncate")
def truncate(site: Site, chance: random.Random) -> str:
    """Cut at a quarter, at nothing, or by one byte."""
    size = site.path.stat().st_size
    kept = chance.choice([0, size // 4, size // 2, 3 * size // 4, max(size - 1, 0)])
    os.truncate(site.path, kept)
    return f"cut to {kept} of {size} bytes"


@mutator("empty")
def empty(site: Site, chance: random.Random) -> str:
    """No byte is left."""
    os.truncate(site.path, 0)
    return "cut to 0 bytes"


@mutator("extend")
def extend(site: Site, chance: random.Random) -> str:
    """Random bytes at the end."""
    count = chance.choice([1, 8, 1000])
    site.path.write_bytes(bytes(_read(site)) + chance.randbytes(count))
    return f"{count} random bytes added"


@mutator("zero-block")
def zero_block(site: Site, chance: random.Random) -> str:
    """A block of zeros."""
    data = _read(site)
    start = chance.randrange(len(data))
    data[start : start + BLOCK] = bytes(len(data[start : start + BLOCK]))
    site.path.write_bytes(data)
    return f"zeros from byte {start}"


@mutator("block-doubled")
def block_doubled(site: Site, chance: random.Random) -> str:
    """A block stands twice, and the rest moves."""
    data = _read(site)
    start = chance.randrange(len(data))
    site.path.write_bytes(data[: start + BLOCK] + data[start:])
    return f"block at {start} doubled"


@mutator("blocks-swapped")
def blocks_swapped(site: Site, chance: random.Random) -> str:
    """Two blocks change places."""
    data = _read(site)
    first, second = sorted(chance.sample(range(0, max(len(data), 2 * BLOCK), BLOCK), 2))
    one, two = data[first : first + BLOCK], data[second : second + BLOCK]
    site.path.write_bytes(data[:first] + two + data[first + BLOCK : second] + one + data[second + BLOCK :])
    return f"blocks at {first} and {second} swapped"


@mutator("sibling-file")
def sibling_file(site: Site, chance: random.Random) -> str:
    """Another file of the run, first of all the same of another checkpoint."""
    own = site.path.read_bytes()
    other = next((path for path in site.siblings if path.read_bytes() != own), None)
    if other is None:
        raise NothingToChange
    shutil.copyfile(other, site.path)
    return f"replaced by {other.parent.name}/{other.name}"


@mutator("any-sibling-file")
def any_sibling_file(site: Site, chance: random.Random) -> str:
    """Any other file of the run."""
    other = chance.choice(site.siblings)
    shutil.copyfile(other, site.path)
    return f"replaced by {other.parent.name}/{other.name}"


@mutator("twin-file")
def twin_file(site: Site, chance: random.Random) -> str:
    """The file of a run of the same architecture and another seed."""
    if site.twin is None:
        raise NothingToChange
    shutil.copyfile(site.twin, site.path)
    return f"replaced by {site.twin.name} of another run"


@mutator("pickle-in-its-place")
def pickle_in_its_place(site: Site, chance: random.Random) -> str:
    """A bare pickle that would make the canary."""
    site.path.write_bytes(pickle.dumps(Canary(site.canary), protocol=chance.choice([0, 2, 4])))
    return "replaced by a pickle that runs code"


@mutator("directory")
def directory(site: Site, chance: random.Random) -> str:
    """A directory of the same name."""
    site.path.unlink()
    site.path.mkdir()
    return "replaced by a directory"


@mutator("link-to-dev-zero")
def link_to_dev_zero(site: Site, chance: random.Random) -> str:
    """A link to a device that never ends."""
    site.path.unlink()
    site.path.symlink_to("/dev/zero")
    return "replaced by a link to /dev/zero"


@mutator("link-to-itself")
def link_to_itself(site: Site, chance: random.Random) -> str:
    """A link that leads round in a circle."""
    site.path.unlink()
    site.path.symlink_to(site.path.name)
    return "replaced by a link to itself"


@mutator("fifo")
def fifo(site: Site, chance: random.Random) -> str:
    """A pipe that nobody writes to: opening it waits for ever."""
    site.path.unlink()
    os.mkfifo(site.path)
    return "replaced by a pipe"


@mutator("removed")
def removed(site: Site, chance: random.Random) -> str:
    """No file."""
    site.path.unlink()
    return "removed"


@mutator("huge-and-sparse")
def huge_and_sparse(site: Site, chance: random.Random) -> str:
    """The file with holes up to 3 GiB, which take memory only where it is read whole."""
    os.truncate(site.path, SPARSE)
    return f"extended to {SPARSE} bytes"


if os.geteuid():  # root reads everything

    @mutator("unreadable")
    def unreadable(site: Site, chance: random.Random) -> str:
        """Nobody may read it."""
        site.path.chmod(0)
        return "mode 000"


class Canary:
    """An object whose pickle makes a file where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def _flip(site: Site, chance: random.Random, count: int, limit: int | None = None) -> str:
    data = _read(site)
    places = [chance.randrange(min(len(data), limit or len(data))) for _ in range(count)]
    for place in places:
        data[place] ^= 1 << chance.randrange(8)
    site.path.write_bytes(data)
    return f"{count} bits flipped, the first in byte {places[0]} of {len(data)}"


def _read(site: Site) -> bytearray:
    """The file's bytes, at least one, so that there is a place to change."""
    return bytearray(site.path.read_bytes() or b"\0")
