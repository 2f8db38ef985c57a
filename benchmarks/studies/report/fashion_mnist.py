"""Fashion-MNIST as the first cells had it: five settings, 15 evaluations at the most."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Any

from benchmarks.studies.report.formatting import cells, counted, spread, table
from benchmarks.studies.report.judges import judge_sentence

BASELINE = "gaussian+condot"
NFES = (1, 2, 4, 8, 15)
GOALS = {
    ("gmm+condot", 15): 0.95,
    ("lowrank64+posterior", 1): 0.2,
    ("lowrank64+posterior", 4): 0.4,
    ("lowrank64+posterior", 15): 0.9,
    ("lowrank64+ot", 4): 0.6,
    ("lowrank64+ot", 15): 0.6,
}


def fashion_mnist() -> str:
    """The section on Fashion-MNIST."""
    by_setting: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for cell in cells("fashion-mnist"):
        by_setting[cell["setting"]].append(cell)
    first = by_setting[BASELINE][0]
    seeds = {setting: len(group) for setting, group in by_setting.items()}
    minutes = statistics.mean(cell["train_seconds"] for group in by_setting.values() for cell in group) / 60
    parts = [
        "## Fashion-MNIST: priors and couplings at equal network, budget and data order",
        "`python -m benchmarks.studies.fashion_mnist`: compact U-Net of "
        f"{first['parameters']:,} weights, {first['steps']} steps of {first['batch_size']}, "
        "bfloat16 autocast, averaged weights, Euler, "
        f"{first['samples']:,} generated pictures against {first['reference']}; "
        f"{min(seeds.values())} to {max(seeds.values())} seeds a setting, mean ± standard deviation; "
        f"{minutes:.0f} minutes of training a cell on {counted(first['threads'], 'CPU thread')}, two "
        "cells at a time, "
        f"torch {first['torch']}. "
        f"{judge_sentence([c for group in by_setting.values() for c in group])} The prior alone (NFE 0) was "
        "not measured with it and is left out.",
        "Settings: "
        + "; ".join(f"`{s}` is `{g[0]['prior']}` + `{g[0]['coupling']}`" for s, g in by_setting.items()),
    ]
    for metric, digits in (("fid-cnn128", 1), ("fid-lite0", 0), ("accuracy", 3)):
        parts += [f"### {metric}", _note(metric, first), _metric_table(by_setting, metric, digits)]
        if metric.startswith("fid"):
            parts += [f"As a ratio to `{BASELINE}` at the same NFE (ratios of the same seed, averaged):"]
            parts += [_ratio_table(by_setting, metric)]
    return "\n\n".join([*parts, _goals(by_setting), _starts(by_setting)])


def _note(metric: str, cell: dict[str, Any]) -> str:
    if metric == "accuracy":
        return "Share of generated pictures that the data set's classifier recognises as their class."
    what = {"fid-cnn128": "128 features of the data set's own CNN classifier, trained on the training split"}
    source = what.get(metric, "1,280 ImageNet features of EfficientNet-Lite0 at 64 × 64")
    return (
        f"Fréchet distance on {source}. {cell['samples']:,} training pictures against the same reference "
        f"give {cell['floor'][metric]:.1f}: the floor."
    )


def _metric_table(by_setting: dict[str, list[dict[str, Any]]], metric: str, digits: int) -> str:
    rows = [
        [f"`{setting}`", *(spread([_value(cell, nfe, metric) for cell in group], digits) for nfe in NFES)]
        for setting, group in by_setting.items()
    ]
    return table(["setting, at NFE", *map(str, NFES)], rows)


def _ratio_table(by_setting: dict[str, list[dict[str, Any]]], metric: str) -> str:
    rows = [
        [f"`{setting}`", *(spread(_ratios(by_setting, setting, nfe, metric), 2) for nfe in NFES)]
        for setting in by_setting
        if setting != BASELINE
    ]
    return table(["setting, at NFE", *map(str, NFES)], rows)


def _ratios(by_setting: dict[str, list[dict[str, Any]]], setting: str, nfe: int, metric: str) -> list[float]:
    base = {cell["seed"]: _value(cell, nfe, metric) for cell in by_setting[BASELINE]}
    return [_value(c, nfe, metric) / base[c["seed"]] for c in by_setting[setting] if c["seed"] in base]


def _value(cell: dict[str, Any], nfe: int, metric: str) -> float:
    return next(row[metric] for row in cell["rows"] if row["nfe"] == nfe)


def _goals(by_setting: dict[str, list[dict[str, Any]]]) -> str:
    rows = []
    for (setting, nfe), goal in GOALS.items():
        ratio = statistics.mean(_ratios(by_setting, setting, nfe, "fid-cnn128"))
        rows.append(
            [f"`{setting}` at {nfe}", f"≤ {goal}", f"{ratio:.2f}", "yes" if ratio <= goal else "**no**"]
        )
    for metric in ("fid-cnn128", "fid-lite0"):
        ratio = statistics.mean(_ratios(by_setting, "lowrank64-floor+ot", 4, metric))
        rows.append([f"default at 4, {metric}", "< 1", f"{ratio:.2f}", _yes(ratio < 1)])
    return "### Against the goals\n\n" + table(["ratio of fid-cnn128", "goal", "measured", "met"], rows)


def _yes(met: bool) -> str:
    return "yes" if met else "**no**"


def _parts(cell: dict[str, Any]) -> str:
    return f"`{cell['prior']}` + `{cell['coupling']}`"


def _starts(by_setting: dict[str, list[dict[str, Any]]]) -> str:
    rows = []
    for setting, group in by_setting.items():
        runs = [cell["run"] for cell in group]
        gaps = [run["starts_gap"] for run in runs]
        rows.append([
            f"`{setting}`",
            spread([run["transport_cost"] for run in runs], 0),
            spread([gap["coefficient"] for gap in gaps], 4),
            ", ".join(f"{gap['p_value']:.3f}" for gap in gaps),
        ])  # fmt: skip
    return (
        "### Starts\n\nTransport cost E‖x1 − x0‖² of the training pairs (it falls trivially with the "
        "prior's scale: no measure of quality), and the gap between training and sampling starts: energy "
        "coefficient in [0, 1] within classes and the p-value of its permutation test, one for each seed.\n\n"
        + table(["setting", "transport cost", "energy coefficient of the gap", "p-values"], rows)
    )
