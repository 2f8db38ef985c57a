"""Picture files written by tests: of one colour, or damaged."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def paint(file: Path, colour: tuple[int, int, int] = (255, 0, 0), size: tuple[int, int] = (8, 8)) -> Path:
    """A picture of a single colour; ``size`` is (width, height)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(file)
    return file


def damage(file: Path) -> Path:
    """Bytes that are no picture under the name of one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"no picture")
    return file


def truncate(file: Path) -> Path:
    """A picture with a whole header and half of its data."""
    paint(file, size=(64, 64))
    file.write_bytes(file.read_bytes()[: -file.stat().st_size // 3])
    return file
