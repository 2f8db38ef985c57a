"""Build the data set ``letters``, the Latin letters and digits of 240 font families, and register it.

    python -m benchmarks.data_sets.letters --size 28
    python -m benchmarks.data_sets.letters --size 64 --out letters-64.npz

npm brings the families, packages of @fontsource of pinned versions whose digests are checked, 190 MB in
all; Pillow's FreeType draws them. Two builds by the same Pillow are equal byte for byte. The families and how
they were chosen are in ``letters_packages.py``.

The data set is registered when this module is imported. A grid imports it by its key ``values`` or
``trainer``, if the module that it names imports this one.

The splits are by family, never by image. Families with nearly the same drawings are one group, and a hash of
the name of a group decides whether it is in the test split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import PIL
import torch
import typer
from PIL import features
from torch import Tensor

from benchmarks.data_sets.fonts import CLASSES, render
from benchmarks.data_sets.letters_packages import LICENCES, Family, read_families
from benchmarks.data_sets.packages import fetch
from flowprior.conditions import Condition
from flowprior.data import DATA, Data, Split
from flowprior.errors import FlowpriorError, InputError
from flowprior.storage.user_paths import cache_folder, existing_file
from flowprior.streams.array_files import check_packing

SIZES = (8, 512)
TEST_SHARE = 0.2
"""The share of groups of families in the test split."""
COMMAND = "python -m benchmarks.data_sets.letters"


@DATA.register("letters")
def letters(split: Split = "train", path: str | None = None) -> LettersData:
    """Latin letters and digits of 240 font families, 40,920 images [1, 28, 28] in [-1, 1], 62 classes.

    The labels are those of A to Z, a to z and 0 to 9. The training split has 33,046 images of 197 families,
    the test split 7,874 of 43 others. ``groups`` are the groups of families with nearly the same drawings.

    Args:
        split: ``"train"`` or ``"test"``.
        path: a file that ``python -m benchmarks.data_sets.letters`` wrote, of 28 pixels or another size; None
            is the one of 28 pixels in the cache.

    Raises:
        DataNotFoundError: no such file.
        InputError: the file is damaged or another one.
    """
    found = existing_file(
        built_file(28) if path is None else path, "letters", f"file that `{COMMAND}` writes"
    )
    glyphs, groups = _read(found)
    chosen = np.array([is_tested(group) == (split == "test") for group in groups])
    if not chosen.any():
        raise InputError(f"{found}: no fonts for split={split}; build the file with `{COMMAND}`")
    return LettersData(glyphs[chosen], groups[chosen])


class LettersData(Data):
    """Glyphs of fonts, kept as bytes and converted to float32 batch by batch.

    Args:
        glyphs: the images of each font, uint8 ``[F, 62, size, size]``.
        groups: the name of the group of each font, ``[F]``.
    """

    name = "letters"
    is_image = True
    condition = Condition("labels", len(CLASSES))
    licences = LICENCES

    def __init__(self, glyphs: np.ndarray, groups: np.ndarray) -> None:
        self.glyphs = torch.from_numpy(glyphs).flatten(0, 1)[:, None]
        self.event_shape = self.glyphs.shape[1:]
        self.class_names = list(CLASSES)
        numbers = torch.from_numpy(np.unique(groups, return_inverse=True)[1])
        self.groups = numbers.repeat_interleave(len(CLASSES))

    def __len__(self) -> int:
        return len(self.glyphs)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return images ``[B, 1, size, size]`` and labels ``[B]`` of ``indices``."""
        return self.glyphs[indices].float().div_(127.5).sub_(1), self.conditions(indices)

    def conditions(self, indices: Tensor) -> Tensor:
        return indices % len(CLASSES)


def is_tested(group: str) -> bool:
    """Return whether a group of families is in the test split, which depends on its name alone."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") < TEST_SHARE * 2**64


def built_file(size: int) -> Path:
    """Return the place of the file of one size in the cache."""
    return cache_folder() / f"letters-{size}.npz"


def build(families: Iterable[Family], size: int, packages: Path | None = None) -> dict[str, Any]:
    """Return the arrays of the file: ``glyphs`` as in :class:`LettersData`, ``fonts`` and ``groups``.

    Args:
        families: the families, whose archives are fetched one after the other.
        size: the side of the images, in pixels.
        packages: the folder where the archives are, or are fetched to; None keeps none of them.

    Raises:
        DataNotFoundError: npm cannot bring an archive.
        InputError: an archive is another one than the digest says.
    """
    glyphs, fonts, groups = [], [], []
    for family in families:
        with TemporaryDirectory() if packages is None else nullcontext(packages) as folder:
            fetch([family], Path(folder))
            glyphs += [render(family.font(Path(folder), style), size) for style in family.styles]
        fonts += [f"{family.family}-{style}" for style in family.styles]
        groups += [family.group] * len(family.styles)
    renderer = f"Pillow {PIL.__version__}, FreeType {features.version('freetype2')}"
    return {
        "glyphs": np.stack(glyphs),
        "fonts": np.array(fonts),
        "groups": np.array(groups),
        "renderer": np.array(renderer),
    }


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return glyphs and groups of the file ``path``.

    Raises:
        InputError: it is damaged, or another file.
    """
    try:
        check_packing(path)
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
            glyphs, groups = stored["glyphs"], stored["groups"]
        if glyphs.dtype != np.uint8 or glyphs.shape[:2] != (len(groups), len(CLASSES)) or glyphs.ndim != 4:
            raise ValueError(
                f"expected uint8 [{len(groups)}, {len(CLASSES)}, size, size], got {glyphs.dtype} "
                f"{list(glyphs.shape)}"
            )
    except InputError:
        raise
    except Exception as error:  # the parsers of damaged files raise a dozen kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: cannot be read as a file of letters ({reason}); build it with `{COMMAND}` again"
        ) from error
    return glyphs, groups


def main(
    size: Annotated[
        int, typer.Option(min=SIZES[0], max=SIZES[1], help="Side of the images, in pixels.")
    ] = 28,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npz", help="The file to write; without it, letters-SIZE.npz in the cache."
        ),
    ] = None,
    packages: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where npm's archives are, or are brought to and kept."),
    ] = None,
) -> None:
    """Build the data set letters at a size of your choice."""
    file = out or built_file(size)
    try:
        arrays = build(read_families(), size, packages)
    except FlowpriorError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, **arrays)
    count = len(arrays["fonts"])
    typer.echo(f"{file}: {count * len(CLASSES):,} images of {count} fonts, {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    typer.run(main)
