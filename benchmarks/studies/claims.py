"""Sentences of docs/choosing.md that say what the cells say: generated, so that they cannot outlive them.

The page holds each between ``<!-- generated: NAME -->`` and ``<!-- end -->``;
``python -m benchmarks.studies.results_page`` fills them, and a test compares.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.studies.choices import BASE, FEATURES, RIVALS, curves, first_step, ratio_to_rivals
from flowprior.report.markdown import counted, markdown_table
from flowprior.study.table import means, read_table, trained

if TYPE_CHECKING:
    from pandas import DataFrame

DEFAULT, LOW_FLOOR, VELOCITY = "latent64-0.04+residual", "latent64-0.01+residual", "latent64-0.01+posterior"
PAPER, FID = "gmm+condot", "fid-cnn128"
STEPS = (1000, 4000, 16000)
NFES = [1, 2, 4, 8, 15, 30]
NAMES = {
    DEFAULT: "the default (`latent-gmm` + `posterior`, prediction `residual`, `reg_covar=0.04`)",
    LOW_FLOOR: "the same with `reg_covar=0.01`",
}
MARKED = re.compile(r"(<!-- generated: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


class Claims:
    """The sentences, from the cells below a folder.

    Args:
        results: folder of all studies.
    """

    def __init__(self, results: Path) -> None:
        self.results = results
        self.tables = {steps: read_table(results / f"fashion-mnist-{steps}") for steps in STEPS}
        self.seeds = {n: t.groupby("flow").seed.nunique() for n, t in self.tables.items()}

    def having(self, *flows: str) -> dict[int, DataFrame]:
        """The tables in which all of these flows ran, by steps."""
        return {steps: table for steps, table in self.tables.items() if {*flows} <= {*table.flow}}

    def lead(self) -> str:
        """The design's distance over the best rival's, for every budget at which a rival ran."""
        rows, lost = [], []
        for setting in NAMES:
            for steps, table in self.having(setting).items():
                rivals = [rival for rival in RIVALS if rival in self.seeds[steps]]
                for metric in FEATURES if rivals else ():
                    ratios = ratio_to_rivals(table, setting, metric)
                    assert ratios is not None
                    seeds = f"{self.seeds[steps][setting]} / {self.seeds[steps][rivals].min()}"
                    shown = [f"{value:.2f}" if value < 1 else f"**{value:.2f}**" for value in ratios[NFES]]
                    rows.append([f"`{setting}`", f"{steps:,}", seeds, metric, *shown])
                    behind = [nfe for nfe in NFES if ratios[nfe] >= 1]
                    lost += [f"{nfe} evaluations ({steps:,} steps, {metric}, `{setting}`)" for nfe in behind]
        verdict = f"It does not lead at {', '.join(lost)}." if lost else "It leads everywhere in this table."
        meanings = "; ".join(f"`{setting}` is {name}" for setting, name in NAMES.items())
        header = ["design", "steps", "seeds, ours / fewest of a rival", "features", *NFES]
        return (
            "Fréchet distance over that of the best rival at the same number of evaluations (torchcfm's "
            f"OT-CFM, flow_matching or `{BASE}`, those that ran); below 1 is better. {meanings}.\n\n"
            f"{markdown_table(header, rows)}\n\n{verdict} The lead shrinks as the network gets stronger."
        )

    def residual(self) -> str:
        """Prediction `residual` over `velocity`, all else equal, of the seeds that both have."""
        rows = []
        for steps, table in self.having(LOW_FLOOR, VELOCITY).items():
            for metric in FEATURES:
                own = trained(table, metric).pivot_table(index=["nfe", "seed"], columns="flow", values="value")
                both = own[[LOW_FLOOR, VELOCITY]].dropna().groupby("nfe").mean()
                ratios = both[LOW_FLOOR] / both[VELOCITY]
                rows.append([f"{steps:,}", metric, *(f"{value:.2f}" for value in ratios[NFES])])
        return (
            "Distance with the prediction `residual` over that with `velocity`, all else equal "
            "(`reg_covar=0.01`, the same seed); below 1 `residual` is better:\n\n"
            + markdown_table(["steps", "features", *NFES], rows)
        )

    def convergence(self) -> str:
        """Steps after which the design with the variance floor 0.01 has what CondOT ends with."""
        said = []
        for steps, table in self.having(BASE, LOW_FLOOR).items():
            for metric in FEATURES:
                at_4, at_15 = (first_step(curves(table, metric), LOW_FLOOR, nfe) for nfe in (4, 15))
                said.append(f"of {steps:,} steps {at_4} at 4 evaluations and {at_15} at 15 ({metric})")
        return (
            f"`{LOW_FLOOR}` reaches what `{BASE}` has at the end after: {'; '.join(said)}. The training of "
            "the default, whose variance floor is 0.04, was not followed on the way."
        )

    def more_evaluations(self) -> str:
        """Where the ImageNet features are best, for the default and the baseline."""
        said = []
        for steps, table in self.tables.items():
            found = means(table, "fid-lite0")[NFES]
            best = found.loc[[name for name in (DEFAULT, BASE) if name in found.index]].idxmin(axis=1)
            told = " and ".join(f"`{name}` at {nfe}" for name, nfe in best.items())
            said.append(f"after {steps:,} steps {told}")
        return (
            "More evaluations are not always better: on ImageNet features the least distance is, "
            f"{'; '.join(said)}. Beyond it the faint noise that a small network leaves shows."
        )

    def paper_design(self) -> str:
        """`gmm` + `condot` over `gaussian` + `condot`."""
        rows = []
        for steps, table in self.having(BASE, PAPER).items():
            for metric in FEATURES:
                found = means(table, metric)[NFES]
                ratios = found.loc[PAPER] / found.loc[BASE]
                rows.append([f"{steps:,}", metric, *(f"{value:.2f}" for value in ratios)])
        return (
            f"The paper's design, `{PAPER}`, as a ratio to `{BASE}`; below 1 is better:\n\n"
            + markdown_table(["steps", "features", *NFES], rows)
        )

    def variance_floor(self) -> str:
        """Validation distances of two variance floors at one evaluation."""
        found = [means(self.tables[1000], metric, "validation")[1] for metric in FEATURES]
        classifier, imagenet = (one[LOW_FLOOR] / one[DEFAULT] for one in found)
        seeds = counted(int(self.seeds[1000][[LOW_FLOOR, DEFAULT]].min()), "seed")
        return (
            f"On Fashion-MNIST's validation split, after 1,000 steps ({seeds}), 0.01 has at one evaluation "
            f"{classifier:.2f} of 0.04's distance on the classifier's features and {imagenet:.2f} on "
            "ImageNet features."
        )

    def blood(self) -> str:
        """The head start on cells: debiased W2² after several budgets."""
        table, said = read_table(self.results / "cells"), []
        for steps, part in ((50, "shorter-50"), (100, "shorter-100"), (200, "shorter-200"), (400, "result")):
            at_4 = means(table[table.part == part], "debiased")[4]
            said.append(f"{at_4['gmm+ot'] / at_4[BASE]:.2f} after {steps} steps")
        return (
            "On 700 blood cells (PBMC, ten types, PCA-50) the prior saves training, not quality at its end: "
            f"of `{BASE}`'s debiased W2² per type at 4 evaluations `gmm` + `ot` has {', '.join(said)}. Raw "
            "W2² cannot rank generators there: real training cells score worse than copies of their mean."
        )

    def without_condition(self) -> str:
        """Fitted sources without a condition against N(0, I), at the most evaluations."""
        table, said = read_table(self.results / "unconditional-source"), []
        for kind, words in (("unlabelled", "not told the labels"), ("labelled", "told the labels")):
            at_most = means(table[table.part == kind], FID).iloc[:, -1]
            fitted = at_most[at_most.index.str.startswith("gmm") & ~at_most.index.str.endswith("+ot")]
            better = (fitted < at_most["gaussian"]).sum()
            said.append(f"{better} of {len(fitted)} with a network that is {words}")
        return (
            "On digits, sources fitted without a condition beat N(0, I) under random pairs, at 60 "
            f"evaluations in {' and '.join(said)}: against what SourceFM found on CIFAR-10. These are 8 × 8 "
            "pictures and a small network, and at few evaluations some of these flows are worse than their "
            "source alone."
        )

    def own_prior(self) -> str:
        """On how many of the ablations' designs the flow is worse than its prior, at 4 evaluations."""
        found = means(read_table(self.results / "ablations"), FID)
        worse = (found[4] > found[0]).groupby(found.index.str.rsplit("+", n=1).str[-1]).agg(["sum", "size"])
        told = " and ".join(f"{lost} of {whole} with `{name}`" for name, (lost, whole) in worse.iterrows())
        return (
            "Look at NFE 0. A flow can be worse than its own prior: in the ablations on digits (a small "
            f"network, 500 steps) that is so at 4 evaluations, by fid-cnn128, for {told}. The page says below "
            "each table where it happens."
        )


CLAIMS: tuple[Callable[[Claims], str], ...] = (
    *(Claims.lead, Claims.residual, Claims.convergence, Claims.more_evaluations, Claims.paper_design),
    *(Claims.variance_floor, Claims.blood, Claims.without_condition, Claims.own_prior),
)


def filled(text: str, results: Path) -> str:
    """``text`` with what is between its markers generated anew.

    Raises:
        KeyError: a marker names no claim.
    """
    claims, known = Claims(results), {claim.__name__: claim for claim in CLAIMS}
    return MARKED.sub(lambda found: f"{found[1]}{known[found[2]](claims)}\n{found[4]}", text)


def fill(page: Path, results: Path) -> None:
    """Fill a page in place."""
    page.write_text(filled(page.read_text(encoding="utf-8"), results), encoding="utf-8")
