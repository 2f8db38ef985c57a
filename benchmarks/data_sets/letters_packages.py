"""The font families of the data set ``letters``, and how they were chosen.

    python -m benchmarks.data_sets.letters_packages NAMES.txt --packages FOLDER

Each line of ``NAMES.txt`` is a package and its version, such as ``@fontsource/lobster 5.3.0``. The command
fetches the packages, leaves out those that do not fit, and writes ``letters_packages.json``. The names were
every second one in the alphabet of 520 packages of @fontsource, without those of icons, bar codes and scripts
other than Latin.

Families with nearly the same drawings are one group, which is never divided between splits: those whose names
begin with the same word, and those of which two fonts are more alike than ``ALIKE``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.data_sets.captions import joined_families
from benchmarks.data_sets.fonts import problem_of, shapes_of
from benchmarks.data_sets.packages import Package, fetch

PINNED = Path(__file__).with_suffix(".json")
LICENCES = ("Apache-2.0", "OFL-1.1")
STYLES = ("400-normal", "700-normal", "400-italic", "300-normal", "900-normal", "700-italic")
"""The styles of a family (weight and slope), the most wanted ones first."""
MOST_STYLES = 4
"""The largest number of fonts that are taken of a family."""
ALIKE = 0.92
"""The correlation of the shapes of two fonts, a mean over characters, above which their families are a group.

Variants of one family have 0.95 or more (Fira Sans Condensed and FiraGO 0.98, Roboto and Heebo 1.00),
families drawn after another one about 0.93 (Mulish and Nunito), and most others less than 0.9."""


@dataclass(frozen=True)
class Family(Package):
    """A package of one font family.

    Attributes:
        licence: its SPDX identifier, one of ``LICENCES``.
        group: the name of the group of families with nearly the same drawings, after the first one of them.
        styles: the fonts of the data set, such as ``400-normal``.
    """

    licence: str
    group: str
    styles: tuple[str, ...]

    @property
    def family(self) -> str:
        """The name of the family, such as ``lobster``."""
        return self.name.rpartition("/")[2]

    def font(self, folder: Path, style: str) -> bytes:
        """Return the contents of the file of one style; errors as :meth:`Package.read`."""
        return self.read(folder, f"files/{self.family}-latin-{style}.woff")


def read_families(path: Path = PINNED) -> list[Family]:
    """Read the families of the data set from a file that this module wrote."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Family(**{**row, "styles": tuple(row["styles"])}) for row in rows]


def choose_families(named: Iterable[tuple[str, str]], folder: Path) -> tuple[list[Family], dict[str, str]]:
    """Return the families that fit the data set, with their groups, and why each of the others does not fit.

    Args:
        named: names and versions of packages.
        folder: the folder of their archives; those that are not there are fetched.

    Raises:
        DataNotFoundError: npm cannot bring a package.
        InputError: an archive is no package of npm.
    """
    families, left_out, shapes = [], {}, []
    for name, version in named:
        fetch([Package(name, version, "")], folder)
        family = _pinned(name, version, folder)
        fonts = [family.font(folder, style) for style in family.styles]
        if family.licence not in LICENCES:
            left_out[name] = f"its licence is {family.licence}"
        elif problem := next(filter(None, map(problem_of, fonts)), None if fonts else "it has no such style"):
            left_out[name] = problem
        else:
            families.append(family)
            shapes.append(np.stack([shapes_of(font) for font in fonts]))
    names = [family.family for family in families]
    groups = joined_families(names, [*_same_first_word(names), *_alike(shapes)])
    return [replace(family, group=group) for family, group in zip(families, groups, strict=True)], left_out


def _pinned(name: str, version: str, folder: Path) -> Family:
    """Return a family with the digest of its archive, which npm has checked, and the styles to take."""
    path = folder / Package(name, version, "").archive
    sha512 = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    family = Family(name, version, sha512, "", "", STYLES)
    with tarfile.open(path) as archive:
        members = set(archive.getnames())
    there = [style for style in STYLES if f"package/files/{family.family}-latin-{style}.woff" in members]
    licence = family.read_json(folder, "package.json")["license"]
    return replace(family, licence=licence, styles=tuple(there[:MOST_STYLES]))


def _same_first_word(names: Sequence[str]) -> list[tuple[int, int]]:
    """Return pairs of places of names that begin with the same word."""
    words = [name.partition("-")[0] for name in names]
    return [
        (left, right) for left, right in combinations(range(len(names)), 2) if words[left] == words[right]
    ]


def _alike(shapes: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Return pairs of places of families, of whose shapes ``[styles, 62, D]`` two fonts are alike."""
    flat = [of_family.reshape(len(of_family), -1) / np.sqrt(of_family.shape[1]) for of_family in shapes]
    pairs = combinations(range(len(flat)), 2)
    return [(left, right) for left, right in pairs if (flat[left] @ flat[right].T).max() > ALIKE]


def main(
    names: Annotated[Path, typer.Argument(metavar="NAMES.txt", help="A package and its version a line.")],
    packages: Annotated[Path, typer.Option(metavar="FOLDER", help="Where npm's archives are, or are kept.")],
) -> None:
    """Choose the families of the data set letters, and write letters_packages.json."""
    lines = [line.split() for line in names.read_text(encoding="utf-8").splitlines()]
    families, left_out = choose_families([(name, version) for name, version in lines], packages)
    rows = [json.dumps(asdict(family)) for family in families]
    PINNED.write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")
    for name, reason in left_out.items():
        typer.echo(f"left out {name}: {reason}")
    groups = len({family.group for family in families})
    fonts = sum(len(family.styles) for family in families)
    typer.echo(f"{PINNED}: {len(families)} families in {groups} groups, {fonts} fonts")


if __name__ == "__main__":
    typer.run(main)
