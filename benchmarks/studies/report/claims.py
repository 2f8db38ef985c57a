"""Sentences of docs/choosing.md that say what the cells say: generated, so that they cannot outlive them.

The page holds each between ``<!-- generated: NAME -->`` and ``<!-- end -->``;
``python -m benchmarks.studies.report`` fills them, and a test compares.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from pathlib import Path

from benchmarks.studies.report.class_conditional import FEATURES, RIVALS, _first_step, ratio_to_rivals
from benchmarks.studies.report.formatting import Cell, cells, counted, grouped, table, value_at
from benchmarks.studies.report.small_flows import at, mean_of

DEFAULT, LOW_FLOOR, VELOCITY = "latent64-0.04+residual", "latent64-0.01+residual", "latent64-0.01+posterior"
PLAIN, PAPER = "gaussian+condot", "gmm+condot"
STEPS = (1000, 4000, 16000)
NFES = (1, 2, 4, 8, 15, 30)
NAMES = {
    DEFAULT: "the default (`latent-gmm` + `posterior`, prediction `residual`, `reg_covar=0.04`)",
    LOW_FLOOR: "the same with `reg_covar=0.01`",
}
MARKED = re.compile(r"(<!-- generated: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
Groups = dict[str, list[Cell]]


def at_steps(steps: int) -> Groups:
    """The Fashion-MNIST cells of one budget, by setting."""
    return grouped(cells(f"fashion-mnist-{steps}"), "setting")


def mean_at(groups: Groups, setting: str, nfe: int, metric: str, rows: str = "rows") -> float:
    """Mean over a setting's seeds."""
    return statistics.mean(value_at(cell, nfe, metric, rows) for cell in groups[setting])


def lead() -> str:
    """The design's distance over the best rival's, for every budget at which a rival ran."""
    rows, lost = [], []
    for setting in NAMES:
        for steps in STEPS:
            groups = at_steps(steps)
            rivals = [rival for rival in RIVALS if rival in groups]
            if setting not in groups or not rivals:
                continue
            for metric in FEATURES:
                ratios = [ratio_to_rivals(groups, setting, nfe, metric, "rows") or 0.0 for nfe in NFES]
                seeds = f"{len(groups[setting])} / {min(len(groups[rival]) for rival in rivals)}"
                shown = [f"{ratio:.2f}" if ratio < 1 else f"**{ratio:.2f}**" for ratio in ratios]
                rows.append([f"`{setting}`", f"{steps:,}", seeds, metric, *shown])
                lost += [f"{nfe} evaluations ({steps:,} steps, {metric}, `{setting}`)"
                         for nfe, ratio in zip(NFES, ratios, strict=True) if ratio >= 1]  # fmt: skip
    verdict = f"It does not lead at {', '.join(lost)}." if lost else "It leads everywhere in this table."
    means = "; ".join(f"`{setting}` is {name}" for setting, name in NAMES.items())
    return (
        "Fréchet distance over that of the best rival at the same number of evaluations (torchcfm's OT-CFM, "
        f"flow_matching or `{PLAIN}`, those that ran); below 1 is better. {means}.\n\n"
        + table(["design", "steps", "seeds, ours / fewest of a rival", "features", *map(str, NFES)], rows)
        + f"\n\n{verdict} The lead shrinks as the network gets stronger."
    )


def residual() -> str:
    """Prediction `residual` over `velocity`, all else equal (floor 0.01)."""
    rows = []
    for steps in STEPS:
        groups = at_steps(steps)
        if {LOW_FLOOR, VELOCITY} <= groups.keys():
            for metric in FEATURES:
                ratios = [_of_first_seeds(groups, nfe, metric) for nfe in NFES]
                rows.append([f"{steps:,}", metric, *(f"{ratio:.2f}" for ratio in ratios)])
    return (
        "Distance with the prediction `residual` over that with `velocity`, all else equal "
        "(`reg_covar=0.01`, the same seed); below 1 `residual` is better:\n\n"
        + table(["steps", "features", *map(str, NFES)], rows)
    )


def _of_first_seeds(groups: Groups, nfe: int, metric: str) -> float:
    """Of seeds that both have."""
    ours, theirs = ({c["seed"]: c for c in groups[name]} for name in (LOW_FLOOR, VELOCITY))
    both = ours.keys() & theirs.keys()
    means = [statistics.mean(value_at(side[seed], nfe, metric) for seed in both) for side in (ours, theirs)]
    return means[0] / means[1]


def convergence() -> str:
    """Steps after which the design with the floor 0.01 has what CondOT ends with."""
    said = []
    for steps in STEPS:
        groups = at_steps(steps)
        if not all(name in groups and groups[name][0]["curve"] for name in (PLAIN, LOW_FLOOR)):
            continue
        last = max(row["step"] for row in groups[PLAIN][0]["curve"])
        for metric in FEATURES:
            found = [_first_step(groups[LOW_FLOOR], groups[PLAIN], metric, nfe, last) for nfe in (4, 15)]
            said.append(f"of {steps:,} steps {found[0]} at 4 evaluations and {found[1]} at 15 ({metric})")
    return (
        f"`{LOW_FLOOR}` reaches what `{PLAIN}` has at the end after: {'; '.join(said)}. The training of the "
        "default, whose floor is 0.04, was not followed on the way."
    )


def more_evaluations() -> str:
    """Where the ImageNet features are best, for the default and the baseline."""
    said = []
    for steps in STEPS:
        groups = at_steps(steps)
        best = {
            name: min(NFES, key=lambda nfe, n=name, g=groups: mean_at(g, n, nfe, "fid-lite0"))
            for name in (DEFAULT, PLAIN)
            if name in groups
        }
        told = " and ".join(f"`{name}` at {nfe}" for name, nfe in best.items())
        said.append(f"after {steps:,} steps {told}")
    return (
        "More evaluations are not always better: on ImageNet features the least distance is, "
        f"{'; '.join(said)}. Beyond it the faint noise that a small network leaves shows."
    )


def paper_design() -> str:
    """`gmm` + `condot` over `gaussian` + `condot`."""
    rows = []
    for steps in STEPS:
        groups = at_steps(steps)
        if {PLAIN, PAPER} <= groups.keys():
            for metric in FEATURES:
                ratios = [mean_at(groups, PAPER, n, metric) / mean_at(groups, PLAIN, n, metric) for n in NFES]
                rows.append([f"{steps:,}", metric, *(f"{ratio:.2f}" for ratio in ratios)])
    return f"The paper's design, `{PAPER}`, as a ratio to `{PLAIN}`; below 1 is better:\n\n" + table(
        ["steps", "features", *map(str, NFES)], rows
    )


def variance_floor() -> str:
    """Validation distances of two floors at one evaluation."""
    groups = at_steps(1000)
    ratios = [
        mean_at(groups, LOW_FLOOR, 1, metric, "validation")
        / mean_at(groups, DEFAULT, 1, metric, "validation")
        for metric in FEATURES
    ]
    seeds = min(len(groups[name]) for name in (LOW_FLOOR, DEFAULT))
    return (
        f"On Fashion-MNIST's validation split, after 1,000 steps ({counted(seeds, 'seed')}), 0.01 has at one "
        f"evaluation {ratios[0]:.2f} of 0.04's distance on the classifier's features and {ratios[1]:.2f} on "
        "ImageNet features."
    )


def blood() -> str:
    """The head start on cells: debiased W2² after several budgets."""
    found = cells("cells")
    said = []
    for steps, kind in ((50, "shorter-50"), (100, "shorter-100"), (200, "shorter-200"), (400, "result")):
        groups = grouped([cell for cell in found if cell["kind"] == kind], "setting")
        ratio = mean_of(groups["gmm+ot"], lambda c: at(c, 4, "debiased")) / mean_of(
            groups[PLAIN], lambda c: at(c, 4, "debiased")
        )
        said.append(f"{ratio:.2f} after {steps} steps")
    return (
        "On 700 blood cells (PBMC, ten types, PCA-50) the prior saves training, not quality at its end: of "
        f"`{PLAIN}`'s debiased W2² per type at 4 evaluations `gmm` + `ot` has {', '.join(said)}. Raw W2² "
        "cannot rank generators there: real training cells score worse than copies of their mean."
    )


def without_condition() -> str:
    """Fitted sources without a condition against N(0, I), at the most evaluations."""
    said = []
    for kind, words in (("unlabelled", "not told the labels"), ("labelled", "told the labels")):
        found = [cell for cell in cells("unconditional-source") if cell["kind"] == kind]
        groups = grouped(found, "setting")
        most = max(row["nfe"] for row in found[0]["rows"])
        fitted = [name for name in groups if name.startswith("gmm") and not name.endswith("+ot")]
        means = {name: mean_of(groups[name], lambda c, n=most: at(c, n)) for name in (*fitted, "gaussian")}
        better = [name for name in fitted if means[name] < means["gaussian"]]
        said.append(f"{len(better)} of {len(fitted)} with a network that is {words}")
    return (
        "On digits, sources fitted without a condition beat N(0, I) under random pairs, at 60 evaluations in "
        f"{' and '.join(said)}: against what SourceFM found on CIFAR-10. These are 8 × 8 pictures and a "
        "small network, and at few evaluations some of these flows are worse than their source alone."
    )


def own_prior() -> str:
    """On how many of the ablations' designs the flow is worse than its prior, at 4 evaluations."""
    groups = grouped(cells("ablations"), "prior")
    lost = {}
    for coupling in ("condot", "ot"):
        own = {p: [c for c in g if c["coupling"] == coupling] for p, g in groups.items()}
        lost[coupling] = [
            p for p, g in own.items() if mean_of(g, lambda c: at(c, 4)) > mean_of(g, lambda c: at(c, 0))
        ]
    told = " and ".join(
        f"{len(names)} of {len(groups)} with `{coupling}`" for coupling, names in lost.items()
    )
    return (
        "Look at NFE 0. A flow can be worse than its own prior: in the ablations on digits (a small network, "
        f"500 steps) that is so at 4 evaluations, by fid-cnn128, for {told}. The page says below each table "
        "where it happens."
    )


CLAIMS: dict[str, Callable[[], str]] = {
    claim.__name__: claim
    for claim in (
        lead,
        residual,
        convergence,
        more_evaluations,
        paper_design,
        variance_floor,
        blood,
        without_condition,
        own_prior,
    )
}


def filled(text: str) -> str:
    """``text`` with what is between its markers generated anew.

    Raises:
        KeyError: a marker names no claim.
    """
    return MARKED.sub(lambda found: f"{found[1]}{CLAIMS[found[2]]()}\n{found[4]}", text)


def fill(page: Path) -> None:
    """Fill a page in place."""
    page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
