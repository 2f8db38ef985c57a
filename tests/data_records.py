"""Records written by tests: shards as webdataset names them, Arrow folders, latents; whole and damaged."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Record = tuple[str, Mapping[str, bytes]]
"""Key of a record, and its members by their suffixes."""


def picture(red: int, size: tuple[int, int] = (8, 8), kind: str = "PNG") -> bytes:
    """A picture of one colour; ``size`` is (width, height)."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (red, 0, 0)).save(buffer, kind)
    return buffer.getvalue()


def array(values: Any, dtype: str = "float32") -> bytes:
    """A ``.npy``."""
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(values, dtype))
    return buffer.getvalue()


def write_tar(file: Path, records: Sequence[Record], pax: bool = False) -> Path:
    """A shard of these records."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kind = tarfile.PAX_FORMAT if pax else tarfile.USTAR_FORMAT
    with tarfile.open(file, "w", format=kind) as shard:
        for key, members in records:
            for suffix, content in members.items():
                add(shard, f"{key}.{suffix}", content)
    return file


def add(shard: tarfile.TarFile, name: str, content: bytes, **fields: Any) -> None:
    """One member; ``fields`` change its header."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    shard.addfile(member, io.BytesIO(content))


def numbered(numbers: Sequence[int], classes: int = 2) -> list[Record]:
    """Records of one picture and one label each; the red of a picture is its number."""
    return [
        (f"{number:05}", {"png": picture(number), "cls": str(number % classes).encode()})
        for number in numbers
    ]


def write_shards(folder: Path, sizes: Sequence[int] = (5, 3, 4), classes: int = 2) -> Path:
    """Uneven shards of :func:`numbered` records, ``00.tar`` and so on."""
    first = 0
    for place, size in enumerate(sizes):
        write_tar(folder / f"{place:02}.tar", numbered(range(first, first + size), classes))
        first += size
    return folder


def reds(x: Any) -> list[int]:
    """The numbers of pictures ``[B, 3, H, W]`` of :func:`picture`."""
    return [round(float(value)) for value in (x[:, 0, 0, 0] + 1) * 127.5]
