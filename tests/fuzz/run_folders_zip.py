"""Mutators of torch's zip files: the pickle inside, the storages, the directory at the end, the state."""

from __future__ import annotations

import io
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from tests.fuzz.run_folders_bytes import Canary
from tests.fuzz.run_folders_mutators import NothingToChange, Site, mutator

FORM = "torch"
BOMB = 768 << 20
CENTRAL = b"PK\x01\x02"
Place = tuple[Any, ...]


@mutator("pickle-bit-flip", FORM)
def pickle_bit_flip(site: Site, chance: random.Random) -> str:
    """A bit of the pickle, under the archive's right checksum."""

    def flip(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        return bytes(changed)

    return _replace_member(site, "data.pkl", flip)


@mutator("pickle-random-bytes", FORM)
def pickle_random_bytes(site: Site, chance: random.Random) -> str:
    """Random bytes in the place of a stretch of the pickle, under the archive's right checksum."""

    def replace(data: bytes) -> bytes:
        start = chance.randrange(len(data))
        return data[:start] + chance.randbytes(16) + data[start + 16 :]

    return _replace_member(site, "data.pkl", replace)


@mutator("pickle-truncated", FORM)
def pickle_truncated(site: Site, chance: random.Random) -> str:
    """The pickle ends early, under the archive's right checksum."""
    return _replace_member(site, "data.pkl", lambda data: data[: chance.randrange(len(data))])


@mutator("pickle-that-runs-code", FORM)
def pickle_that_runs_code(site: Site, chance: random.Random) -> str:
    """The pickle would make the canary, in torch's new or old format."""
    state = torch.load(site.path, weights_only=True)
    state = state if isinstance(state, dict) else {}
    state[chance.choice(["optimizer", "another"])] = Canary(site.canary)
    new = chance.random() < 0.7
    torch.save(state, site.path, _use_new_zipfile_serialization=new)
    return f"a pickle that runs code, {'zip' if new else 'legacy'} format"


@mutator("pickle-by-hand", FORM)
def pickle_by_hand(site: Site, chance: random.Random) -> str:
    """The pickle is no state at all: a list, a number, deep tuples, or a call of the builtin ``eval``."""
    deep = b"\x80\x02" + b"(" * 50_000 + b"t" * 50_000 + b"."
    code = f"__import__('pathlib').Path({str(site.canary)!r}).touch()"
    call = b"cbuiltins\neval\n(V" + code.encode() + b"\ntR."
    other = chance.choice([*map(pickle.dumps, ([1, 2], 7, None, {})), deep, call])
    return f"{_replace_member(site, 'data.pkl', lambda _: other)}: {other[:40]!r}"


@mutator("storage-changed", FORM)
def storage_changed(site: Site, chance: random.Random) -> str:
    """A storage is shorter, longer or of other bytes, under the archive's right checksum."""

    def change(data: bytes) -> bytes:
        others = [data[: len(data) // 2], data * 2, b"", b"\xff" * len(data)]
        return chance.choice([other for other in others if other != data])

    return _replace_member(site, chance.choice(_storages(site)), change)


@mutator("directory-damaged", FORM)
def directory_damaged(site: Site, chance: random.Random) -> str:
    """Bits of the directory at the archive's end."""
    data = bytearray(site.path.read_bytes())
    start = data.find(CENTRAL)
    places = [chance.randrange(start, len(data)) for _ in range(chance.randint(1, 16))]
    for place in places:
        data[place] ^= 1 << chance.randrange(8)
    site.path.write_bytes(data)
    return f"{len(places)} bits of the directory, the first in byte {places[0]}"


@mutator("size-declared-huge", FORM)
def size_declared_huge(site: Site, chance: random.Random) -> str:
    """A member says that it holds nearly 4 GiB."""
    data = bytearray(site.path.read_bytes())
    start = chance.choice(_places(bytes(data), CENTRAL))
    struct.pack_into("<II", data, start + 20, *chance.choice([(2**32 - 2, 2**32 - 2), (64, 2**32 - 2)]))
    site.path.write_bytes(data)
    return f"entry at {start} declares 4 GiB"


@mutator("zip-bomb", FORM)
def zip_bomb(site: Site, chance: random.Random) -> str:
    """A storage is 768 MiB of zeros that are packed into less than one."""
    name = chance.choice(_storages(site))
    members = _members(site)
    bomb = zipfile.ZipInfo(name)
    bomb.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(site.path, "w", compresslevel=1) as archive:
        for member, data in members:
            if member != name:
                archive.writestr(zipfile.ZipInfo(member), data)
        with archive.open(bomb, "w", force_zip64=True) as file:
            for _ in range(BOMB >> 20):
                file.write(bytes(1 << 20))
    return f"{name} inflates to {BOMB} bytes"


@mutator("state-key-removed", FORM)
def state_key_removed(site: Site, chance: random.Random) -> str:
    """A key of the state is gone, and the file written as torch writes it."""
    return _edit_state(site, chance, lambda _: True, None)


@mutator("state-of-another-type", FORM)
def state_of_another_type(site: Site, chance: random.Random) -> str:
    """A value of the state is of another type, and the file written as torch writes it."""
    others = [None, "words", -1, 10**30, 1.5, float("nan"), [], {}, [[[]]], torch.zeros(3), True]
    return _edit_state(site, chance, lambda _: True, lambda _: chance.choice(others))


@mutator("state-number", FORM)
def state_number(site: Site, chance: random.Random) -> str:
    """A number of the state is another one."""
    numbers = [-1, 0, 7, 2**40, 10**30, 1e308, float("nan")]
    return _edit_state(site, chance, _is_number, lambda _: chance.choice(numbers))


@mutator("state-tensor", FORM)
def state_tensor(site: Site, chance: random.Random) -> str:
    """A tensor of the state has other values, another shape, type or layout, or requires grad."""

    def change(old: Tensor) -> Tensor:
        old = old.float()
        others = [old + 1, old * float("nan"), old[None], old.double(), old.reshape(-1)[:0], old.to_sparse()]
        others += [old.clone().requires_grad_(), old.to("meta"), torch.nn.Parameter(old)]
        return chance.choice(others)

    return _edit_state(site, chance, lambda value: isinstance(value, Tensor), change)


def _edit_state(
    site: Site,
    chance: random.Random,
    wanted: Callable[[Any], bool],
    change: Callable[[Any], Any] | None,
) -> str:
    state = torch.load(site.path, weights_only=True)
    places = [place for place, value in _values(state) if wanted(value)]
    if not places:
        raise NothingToChange
    place = chance.choice(places)
    holder = state
    for step in place[:-1]:
        holder = holder[step]
    if change is None:
        del holder[place[-1]]
        said = "removed"
    else:
        old, holder[place[-1]] = holder[place[-1]], change(holder[place[-1]])
        said = f"{_short(old)} -> {_short(holder[place[-1]])}"
    torch.save(state, site.path)
    return f"{'.'.join(map(str, place))}: {said}"


def _values(state: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    pairs = list(state.items()) if isinstance(state, dict) else []
    pairs = list(enumerate(state)) if isinstance(state, list) else pairs
    for key, value in pairs:
        yield (*place, key), value
        yield from _values(value, (*place, key))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype}{list(value.shape)} {value.layout} on {value.device}"
    return repr(value)[:40]


def _members(site: Site) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(site.path) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def _storages(site: Site) -> list[str]:
    """Names of the members that hold numbers."""
    return sorted(name for name, data in _members(site) if "/data/" in name and data)


def _replace_member(site: Site, name: str, change: Callable[[bytes], bytes]) -> str:
    """Write the archive anew with one member changed; sizes and checksums are right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for member, data in _members(site):
            archive.writestr(zipfile.ZipInfo(member), change(data) if member.endswith(name) else data)
    site.path.write_bytes(buffer.getvalue())
    return f"{name} changed, checksum right"


def _places(data: bytes, mark: bytes) -> list[int]:
    found, start = [], data.find(mark)
    while start >= 0:
        found.append(start)
        start = data.find(mark, start + 1)
    return found
