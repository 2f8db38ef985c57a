"""Conditions and inputs that the prior was not made for."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.studies.out_of_distribution import GAP, UNSEEN
from benchmarks.studies.report.formatting import (
    Cell,
    cells,
    counted,
    grouped,
    shown_at,
    spread,
    table,
    worse_than_prior,
)
from benchmarks.studies.report.judges import judge_sentence
from benchmarks.studies.report.small_flows import NFES, at, made, mean_of, shown


def out_of_distribution() -> str:
    """The section; "" where nothing has run."""
    found = cells("out-of-distribution")
    if not found:
        return ""
    parts = grouped(found, "part")
    trained = [cell for cell in found if cell["part"] in ("unseen", "corrupted", "coinciding")]
    head = "## Out of distribution\n\n`python -m benchmarks.studies.out_of_distribution`"
    texts = [head, *([f"Digits: {made(trained)} {judge_sentence(trained)}".rstrip()] if trained else [])]
    makers = {
        "unseen": _unseen,
        "gap": _gap,
        "density": _density,
        "corrupted": _corrupted,
        "coinciding": _coinciding,
    }
    return "\n\n".join([*texts, *(make(parts[part]) for part, make in makers.items() if part in parts)])


def _unseen(found: list[Cell]) -> str:
    rows = []
    for name, group in grouped(found, "setting").items():
        asked = [next(r for r in cell["rows"] if r["label"] == UNSEEN) for cell in group]
        shares = [statistics.mean(row["shares"][k] for row in asked) for k in range(len(asked[0]["shares"]))]
        top = max(range(len(shares)), key=lambda k: shares[k])
        rows.append(
            [
                f"`{name}`",
                f"{100 * shares[UNSEEN]:.0f} %",
                f"{top} ({100 * shares[top]:.0f} %)",
                spread([row["w2_squared_unseen_class"] for row in asked]),
                spread([row["w2_squared_seen_classes"] for row in asked]),
            ]
        )
    header = ["setting", f"seen as {UNSEEN}", "seen mostly as", f"W2² to the {UNSEEN}s", "W2² to all seen"]
    return (
        f"### An unseen label: trained without the {UNSEEN}s, asked for them\n\n"
        "`gmm` has `unseen=pooled`: it starts from the pooled prior. The network's own embedding of the "
        "label "
        "was never trained. 15 evaluations; the classifier knows all ten digits.\n\n"
        + table(header, rows)
        + f"\n\nWithout `unseen=pooled`: “{found[0]['without_fallback']}”"
    )


def _gap(found: list[Cell]) -> str:
    rows = []
    for name, group in grouped(found, "setting").items():
        line = [f"`{name}`"]
        for place in ("inside", "outside"):
            for metric in ("w2_squared", "error"):
                line.append(spread([_placed(cell, place, 15)[metric] for cell in group], 2))
        rows.append(line)
    header = ["setting", "W2² in the gap", "error in the gap", "W2² outside", "error outside"]
    return (
        f"### An interval of a continuous condition left out: x in [{GAP[0]:g}, {GAP[1]:g}] of the moons\n\n"
        f"{made(found)} The condition is the target's first coordinate; the error is the mean distance "
        f"of the "
        "sample's from it, at 15 evaluations.\n\n" + table(header, rows)
    )


def _placed(cell: Cell, place: str, nfe: int) -> dict[str, Any]:
    return next(row for row in cell["rows"] if (row["place"], row["nfe"]) == (place, nfe))


def _density(found: list[Cell]) -> str:
    kinds = [kind for kind in dict.fromkeys(r["corruption"] for r in found[0]["rows"]) if kind != "none"]
    priors = list(dict.fromkeys(row["prior"] for row in found[0]["rows"]))
    figures = {
        (prior, kind): [
            row["auroc"]
            for c in found
            for row in c["rows"]
            if (row["prior"], row["corruption"]) == (prior, kind)
        ]
        for prior in priors
        for kind in kinds
    }
    rows = [[f"`{prior}`", *(spread(figures[prior, kind], 3) for kind in kinds)] for prior in priors]
    fooled = [f"{p} by {k}" for (p, k), values in figures.items() if statistics.mean(values) < 0.5]
    said = (
        "Below 0.5 the prior finds corrupted digits *more* likely than clean ones, so its log-density "
        "alone is "
        f"no alarm: {', '.join(fooled)}."
        if fooled
        else "Every prior finds corrupted digits less likely than clean ones."
    )
    return (
        "### Corrupted inputs: what the prior's log-density says\n\n"
        "Fitted to clean training digits; area under the ROC curve for telling corrupted from clean "
        f"test digits of known label, {counted(len(found), 'seed')}. Noise of deviation 0.5, blur over "
        "3 × 3, half contrast and + 0.4 (pixels lie in [−1, 1]).\n\n"
        + table(["prior", *kinds], rows)
        + "\n\n"
        + said
    )


def _corrupted(found: list[Cell]) -> str:
    rows, worst = [], []
    for name, group in grouped(found, "setting").items():
        clean = [cell for cell in group if cell["variant"] == "none"]
        for kind in dict.fromkeys(["none", *(cell["variant"] for cell in group)]):
            own = [cell for cell in group if cell["variant"] == kind]
            fit = [shown_at(own, nfe, "fid-cnn128", 1) for nfe in (0, *NFES)]
            start = [shown(clean, lambda c, n=nfe, k=kind: _start(c, k, n)) for nfe in NFES]
            rows.append([f"`{name}`", kind, *fit, *start])
            if clean and own and kind != "none":
                ratio = mean_of(own, lambda c: at(c, 15)) / mean_of(clean, lambda c: at(c, 15))
                swapped = mean_of(clean, lambda c, k=kind: _start(c, k, 15)) / mean_of(
                    clean, lambda c: at(c, 15)
                )
                worst.append(
                    f"`{name}`, {kind}: {ratio:.2f} trained with it, {swapped:.2f} only started from it"
                )
    header = ["setting", "prior fitted to", "NFE 0, the prior alone"]
    header += [f"trained with it, NFE {n}" for n in NFES]
    header += [f"only started from it, NFE {n}" for n in NFES]
    return (
        "### A prior fitted to corrupted digits\n\n"
        "The network is always trained on clean digits: with the corrupted prior, or with the clean one "
        "and only "
        "started from the corrupted one. fid-cnn128.\n\n"
        + table(header, rows)
        + "\n\nAs a ratio to the clean prior at 15 evaluations: "
        + "; ".join(worst)
        + ". "
        + worse_than_prior(_by_kind(found), "fid-cnn128", NFES)
    ).rstrip()


def _by_kind(found: list[Cell]) -> dict[str, list[Cell]]:
    return grouped([{**cell, "of": f"{cell['setting']}, {cell['variant']}"} for cell in found], "of")


def _start(cell: Cell, kind: str, nfe: int) -> float:
    return next(row["fid-cnn128"] for row in cell["start"][kind] if row["nfe"] == nfe)


def _coinciding(found: list[Cell]) -> str:
    rows, ratios = [], []
    for name, group in grouped(found, "setting").items():
        by = {v: [cell for cell in group if cell["variant"] == v] for v in ("apart", "moved")}
        rows += [
            [f"`{name}`", variant, *(shown_at(own, nfe, "w2_squared", 2) for nfe in (0, *NFES))]
            for variant, own in by.items()
        ]
        if all(by.values()):
            means = {v: mean_of(own, lambda c: at(c, 4, "w2_squared")) for v, own in by.items()}
            ratios.append(f"`{name}` {means['moved'] / means['apart']:.2f}")
    return (
        "### Two classes with one mean\n\n"
        "The 1s are moved so that their mean is the 0s' (`moved`), or left (`apart`); W2² of these two "
        "classes, "
        "averaged.\n\n"
        + table(["setting", "means", *(f"NFE {n}" for n in (0, *NFES))], rows)
        + "\n\nMoved over apart at 4 evaluations (1: no harm): "
        + ", ".join(ratios)
        + "."
    )
