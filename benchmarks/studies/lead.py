"""What is read off the study of the lead: each rival at its best grid, and where quality is lost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.studies.alike import joined, means
from benchmarks.studies.tables import FEATURES, RIVALS
from flowprior.pictures import save_figure
from flowprior.study.table import DataFrame, Series, select, trained

OURS, BEFORE = "default", "before"
GRID = "euler:grid=last,at=0.7"
"""The default's grid of times, one for every budget and number of evaluations."""
GOALS: Mapping[tuple[int, str], dict[int, float]] = {
    (1000, "fid-lite0"): {1: 0.25, 2: 0.36, 4: 0.46, 8: 1, 15: 0.53, 30: 0.53},
    (16000, "fid-lite0"): {1: 0.30, 2: 0.40, 4: 0.52, 8: 1, 15: 0.70, 30: 0.75},
    (16000, "fid-cnn128"): {1: 0.12, 2: 0.13, 4: 0.16, 8: 1, 15: 0.30, 30: 0.35},
}
"""(steps, features) -> NFE -> what the default's distance over the best rival's is to be at most."""
MORE = 1.02
"""What 30 evaluations may have of the best distance at fewer."""
INFERRED, DRAWN = "inferred", "drawn"
VALIDATION = "validation"


COMPARED = ("prior", "coupling", "prediction", "trainer", "peer", "sampler", "seed")
"""What the default and its rivals differ in: who trains, too, and the grids and seeds that were tried."""
EARLIER: Mapping[str, str] = {"test": "fashion-mnist", "validation": "fashion-mnist-validation5000"}
"""Split -> what it is called in the references of today; cells of fashion_mnist.toml count without naming."""


def with_rivals(table: DataFrame, earlier: DataFrame) -> DataFrame:
    """The table with those rivals of an earlier study of the same budget that it has not itself.

    Raises:
        UnlikeStudies: the two differ in more than :data:`COMPARED`.
    """
    missing = [flow for flow in RIVALS if flow not in set(table["flow"])]
    others = select(earlier, flow=missing, step=None)
    if others.empty:
        return table
    named = others.assign(
        data=EARLIER["test"],
        reference=others["reference"] + " of " + others["split"].map(EARLIER),
    )
    return joined(table, named, COMPARED)


def uneven_seeds(table: DataFrame) -> str:
    """The seeds of each setting where not all have the same, in words; else empty."""
    own = trained(table, FEATURES[0])
    own = own[~own["flow"].str.endswith(" source samples")]
    ran = {flow: sorted(seeds.unique()) for flow, seeds in own.groupby("flow")["seed"]}
    told = [f"`{flow}` {', '.join(map(str, seeds))}" for flow, seeds in ran.items()]
    return "" if len({*map(tuple, ran.values())}) < 2 else "; ".join(told)


def at_one_grid(tables: Mapping[int, DataFrame]) -> list[str]:
    """The rivals, by steps of the training, that were sampled at equal steps alone, in words."""
    found = []
    for steps, table in tables.items():
        tried = trained(table, FEATURES[0], flow=list(RIVALS)).groupby("flow")["sampler"].unique()
        found += [f"`{flow}` after {steps:,} steps" for flow, grids in tried.items() if len(grids) == 1]
    return found


def spans(tables: Mapping[int, DataFrame], nfes: list[int]) -> dict[str, tuple[float, float]]:
    """Metric -> the least and the largest ratio to the best rival, over budgets and evaluations."""
    found = {}
    for metric in FEATURES:
        ratios = [ratio for table in tables.values() for ratio in over_best_rival(table, metric)[nfes]]
        found[metric] = min(ratios), max(ratios)
    return found


def settings(table: DataFrame, metric: str) -> DataFrame:
    """Test means: a row for each flow, a column for each NFE.

    The default at its own grid, every other flow at the grid that the validation split prefers at that NFE.
    """
    own = trained(table, metric, split=VALIDATION)
    own = own[own["nfe"].gt(0) & (own["split"] == VALIDATION)]
    seen = means(own, metric, VALIDATION, index=["flow", "sampler"])
    unseen = means(table, metric, index=["flow", "sampler"]).reindex_like(seen)
    preferred = seen.where(seen.eq(seen.groupby(level="flow").transform("min")))
    found = unseen.where(preferred.notna()).groupby(level="flow", sort=False).first()
    if OURS in found.index:
        found.loc[OURS] = unseen.loc[(OURS, GRID)]
    return found


def over_best_rival(table: DataFrame, metric: str) -> Series:
    """The default over the best rival, by NFE; empty where one of them did not run."""
    found = settings(table, metric)
    rivals = found.filter(RIVALS, axis="index")
    return (found.loc[OURS] / rivals.min()).dropna() if OURS in found.index and len(rivals) else found.head(0)


def last_over_best(table: DataFrame, metric: str) -> float:
    """The default's distance at 30 evaluations over the best at fewer."""
    own = settings(table, metric).loc[OURS]
    return float(own[30] / own.drop(30).min())


def sources(table: DataFrame, metric: str) -> DataFrame:
    """Distances from inferred and from drawn source samples: rows (setting, NFE), means over seeds."""
    own = select(table, metric=metric)
    own = own[own["flow"].str.endswith(" source samples")]
    parts = own["flow"].str.extract(r"^(?P<setting>.*), (?P<source>\w+) source samples$")
    own = own.assign(setting=parts["setting"], source=parts["source"])
    return own.pivot_table(index=["setting", "nfe"], columns="source", values="value", sort=False)


def gap_ratio(table: DataFrame, metric: str) -> Series:
    """What drawn source samples lose to inferred ones, the default's over that of before, by NFE."""
    found = sources(table, metric)
    gap = found[DRAWN] - found[INFERRED]
    return gap[OURS] / gap[BEFORE]


def draw_losses(table: DataFrame, steps: int, path: Path) -> None:
    """Where quality is lost after so many steps, before and now.

    A bar is the distance from source samples drawn from the prior; its dark part is what is left where they
    are inferred from held-out pictures, the flow's own part. The light part is lost in the law of the prior.
    """
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, metric in zip(figure.subplots(1, len(FEATURES)), FEATURES, strict=True):
        found = sources(table, metric)
        nfes = sorted(found.index.get_level_values("nfe").unique())
        for shift, setting, colour in ((-0.2, BEFORE, "C7"), (0.2, OURS, "C0")):
            own = found.loc[setting].loc[nfes]
            places = [place + shift for place in range(len(nfes))]
            axes.bar(
                places, own[DRAWN], 0.36, color=colour, alpha=0.4, label=f"{setting}: lost in the prior's law"
            )
            axes.bar(places, own[INFERRED], 0.36, color=colour, label=f"{setting}: lost in the flow")
        axes.set_xticks(range(len(nfes)), [str(nfe) for nfe in nfes])
        axes.set_xlabel("evaluations of the network (NFE)")
        axes.set_ylabel(metric)
    figure.axes[0].legend(fontsize=8, frameon=False)
    figure.suptitle(
        f"Fashion-MNIST after {steps:,} steps: where quality is lost, before and now", fontsize=10
    )
    save_figure(figure, path)
