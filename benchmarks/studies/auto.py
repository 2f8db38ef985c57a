"""What ``--prior auto`` is worth on the tables of :mod:`auto_tables <benchmarks.studies.auto_tables>`.

data = "table:of=breast-cancer"
values = "benchmarks.studies.auto:values"

    python -m benchmarks.studies.auto runs

keeps what `flowprior compare` left in ``runs/auto-NAME``, or :mod:`benchmarks.studies.auto_divisions` in
``runs/auto-NAME-0``, ``runs/auto-NAME-1``, …; the choice may be one of the designs beside it, and is then the
same trained cell under two names.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import typer
from torch import Tensor

from benchmarks.studies import RESULTS, Row, everything, generator, rows_of
from benchmarks.studies.auto_tables import TABLES
from flowprior.evaluation.result import REAL_DATA
from flowprior.flow import Flow
from flowprior.inspection import energy_coefficient
from flowprior.storage import read_json
from flowprior.study.cell_file import StudyFolder, write_object
from flowprior.study.table import DataFrame, read_table, select

if TYPE_CHECKING:
    from pandas import Series

NFES = (0, 1, 4, 15)
TIMES = 10
"""Samples for each test event."""
CHOICE, BASELINE = "auto", "gaussian+condot"
RULES = dict.fromkeys(("breast-cancer", "diabetes", "swiss-roll", "iris"), "second")
RULES |= dict.fromkeys(("penguins", "circles"), "third")
RULES |= dict.fromkeys(("crabs", "glass", "shells", "satellite", "letters", "vehicles"), "fourth")
RULES |= dict.fromkeys(("pen-digits", "showers", "textures"), "fifth")
"""Data -> the rules that made the stored choice; of other data the latest ones, see docs/automatic.md."""
LATEST = "sixth"
FEW_STEPS = (4, 15)


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
    """Values at the times that suit a design best on average: rows (flow, seed), columns NFE.

    The choice has the times that suit the design that it is, over all seeds of that design.
    """
    kept = select(table, metric=metric)
    kept = kept[kept.nfe.isin(FEW_STEPS)]
    design = ["prior", "coupling", "nfe"]
    once = kept.drop_duplicates([*design, "sampler", "seed"])  # the choice may be one of those beside it
    mean = once.groupby([*design, "sampler"]).value.mean()
    best = mean.loc[mean.groupby(design).idxmin()].reset_index()[[*design, "sampler"]]
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
