"""What the generated sentences of docs/choosing.md say; their words are in ``choosing.md.jinja``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.studies.picture_tables import BASE, FEATURES, RIVALS, curves, first_step, ratio_to_rivals
from benchmarks.studies.section_tables import FID, fitted_over_plain
from flowprior.report.markdown import counted, markdown_table
from flowprior.study.table import DataFrame, means, read_table, select, trained

DEFAULT, LOW_FLOOR, VELOCITY = "latent64-0.04+residual", "latent64-0.01+residual", "latent64-0.01+posterior"
PAPER = "gmm+condot"
NFES = [1, 2, 4, 8, 15, 30]


class Claims:
    """The values behind the sentences.

    Args:
        results: folder of all studies.
    """

    def __init__(self, results: Path) -> None:
        self.results = results
        self.tables = {n: read_table(results / f"fashion-mnist-{n}") for n in (1000, 4000, 16000)}
        self.seeds = {n: table.groupby("flow")["seed"].nunique() for n, table in self.tables.items()}

    def having(self, *flows: str) -> dict[int, DataFrame]:
        """The tables in which all of these flows ran, by steps."""
        return {steps: table for steps, table in self.tables.items() if {*flows} <= {*table["flow"]}}

    def lead(self) -> dict[str, Any]:
        """The design's distance over the best rival's, for every budget at which a rival ran."""
        rows, lost = [], []
        for setting in (DEFAULT, LOW_FLOOR):
            for steps, table in self.having(setting).items():
                rivals = self.seeds[steps].filter(RIVALS)
                for metric in FEATURES:
                    ratios = ratio_to_rivals(table, setting, metric)
                    if ratios is None:
                        continue
                    shown = (f"{value:.2f}" if value < 1 else f"**{value:.2f}**" for value in ratios[NFES])
                    seeds = f"{self.seeds[steps][setting]} / {rivals.min()}"
                    rows.append([f"`{setting}`", f"{steps:,}", seeds, metric, *shown])
                    behind = (nfe for nfe in NFES if ratios[nfe] >= 1)
                    lost += (f"{nfe} evaluations ({steps:,} steps, {metric}, `{setting}`)" for nfe in behind)
        header = ["design", "steps", "seeds, ours / fewest of a rival", "features", *NFES]
        return {"table": markdown_table(header, rows), "lost": ", ".join(lost)}

    def ratios(self, ours: str, theirs: str, common_seeds: bool = False) -> str:
        """A table of one flow over another, by steps and features; of all seeds, or those that both have."""
        rows = []
        for steps, table in self.having(ours, theirs).items():
            for metric in FEATURES:
                own = trained(table, metric, flow=[ours, theirs])
                own = own.pivot_table(index=["nfe", "seed"], columns="flow", values="value")
                found = (own.dropna() if common_seeds else own).groupby("nfe").mean()
                values = (found[ours] / found[theirs])[NFES]
                rows.append([f"{steps:,}", metric, *(f"{value:.2f}" for value in values)])
        return markdown_table(["steps", "features", *NFES], rows)

    def residual(self) -> str:
        """Prediction `residual` over `velocity`, all else equal, of the seeds that both have."""
        return self.ratios(LOW_FLOOR, VELOCITY, common_seeds=True)

    def paper_design(self) -> str:
        """`gmm` + `condot` over `gaussian` + `condot`."""
        return self.ratios(PAPER, BASE)

    def convergence(self) -> str:
        """Steps after which the design with the variance floor 0.01 has what CondOT ends with."""
        said = []
        for steps, table in self.having(BASE, LOW_FLOOR).items():
            for metric in FEATURES:
                at_4, at_15 = (first_step(curves(table, metric), LOW_FLOOR, nfe) for nfe in (4, 15))
                said.append(f"of {steps:,} steps {at_4} at 4 evaluations and {at_15} at 15 ({metric})")
        return "; ".join(said)

    def most_useful_evaluations(self) -> str:
        """Where the ImageNet features are best, for the default and the baseline."""
        said = []
        for steps, table in self.tables.items():
            found = means(table, FEATURES[1])[NFES].filter([DEFAULT, BASE], axis="index")
            told = " and ".join(f"`{name}` at {nfe}" for name, nfe in found.idxmin(axis="columns").items())
            said.append(f"after {steps:,} steps {told}")
        return "; ".join(said)

    def variance_floor(self) -> dict[str, Any]:
        """Validation distance under the variance floor 0.01 over that under 0.04, at one evaluation."""
        found = (means(self.tables[1000], metric, "validation")[1] for metric in FEATURES)
        classifier, imagenet = (f"{one[LOW_FLOOR] / one[DEFAULT]:.2f}" for one in found)
        seeds = counted(self.seeds[1000][[LOW_FLOOR, DEFAULT]].min(), "seed")
        return {"classifier": classifier, "imagenet": imagenet, "seeds": seeds}

    def blood(self) -> str:
        """The head start on cells: debiased W2² at 4 evaluations over the baseline's, by budget."""
        table, said = read_table(self.results / "cells"), []
        for steps, part in ((50, "shorter-50"), (100, "shorter-100"), (200, "shorter-200"), (400, "result")):
            at_4 = means(select(table, part=part), "debiased")[4]
            said.append(f"{at_4['gmm+ot'] / at_4[BASE]:.2f} after {steps} steps")
        return ", ".join(said)

    def without_condition(self) -> str:
        """How many fitted sources without a condition beat N(0, I), at the most evaluations."""
        table, said = read_table(self.results / "unconditional-source"), []
        for part, words in (("unlabelled", "not told the labels"), ("labelled", "told the labels")):
            found = fitted_over_plain(select(table, part=part))
            better = found["all"] - found["worse"]
            said.append(f"{better} of {found['all']} with a network that is {words}")
        return " and ".join(said)

    def own_prior(self) -> str:
        """On how many of the ablations' designs the flow is worse than its prior, at 4 evaluations."""
        found = means(read_table(self.results / "ablations"), FID)
        worse = (found[4] > found[0]).groupby(found.index.str.rsplit("+", n=1).str[-1]).agg(["sum", "size"])
        return " and ".join(f"{lost} of {whole} with `{name}`" for name, (lost, whole) in worse.iterrows())
