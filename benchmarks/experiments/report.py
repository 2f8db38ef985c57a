"""Write docs/results.md from the committed JSON of the experiments.

python -m benchmarks.experiments.report
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
TARGET = Path(__file__).parents[2] / "docs" / "results.md"
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


def cells(experiment: str) -> list[dict[str, Any]]:
    """Every finished cell of an experiment, in the order of their files."""
    return [json.loads(path.read_text()) for path in sorted((RESULTS / experiment).glob("*.json"))]


def spread(values: list[float], digits: int = 1) -> str:
    """``mean ± standard deviation``, the latter over seeds, where there are more than one."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


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
        "`python -m benchmarks.experiments.fashion_mnist`: compact U-Net of "
        f"{first['parameters']:,} weights, {first['steps']} steps of {first['batch_size']}, "
        "bfloat16 autocast, averaged weights, Euler, "
        f"{first['samples']:,} generated pictures against {first['reference']}; "
        f"{min(seeds.values())} to {max(seeds.values())} seeds a setting, mean ± standard deviation; "
        f"{minutes:.0f} minutes of training a cell on {first['threads']} CPU thread(s), two cells at a time, "
        f"torch {first['torch']}.",
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


def posterior_gap() -> str:
    """What `posterior`'s starts cost, from posterior_gap.py."""
    path = RESULTS / "posterior-gap.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text())
    rows = [
        [str(row["seed"]), str(row["nfe"]), f"{row['inferred']:.1f}", f"{row['drawn']:.1f}"]
        for row in result["rows"]
    ]
    return (
        "### Where the error of `posterior` comes from\n\n"
        "`python -m benchmarks.experiments.posterior_gap`: fid-cnn128 of the trained flow "
        f"`lowrank64+posterior`, from {result['samples']:,} starts inferred from training pictures, as in "
        "training, and from as many drawn from the prior, as in sampling. The network does its part (though "
        "an inferred start also knows its picture); the Gaussian law of the latents does not.\n\n"
        + table(["seed", "NFE", "inferred starts", "drawn starts"], rows)
    )


def moons() -> str:
    """The section on 8gaussians → moons."""
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for cell in cells("moons"):
        by_name[cell["name"]].append(cell)
    first = next(iter(by_name.values()))[0]
    literature = {"FM": "2.573 / 0.059", "OT": "0.483 / 0.462", "C2OT, within": "0.048 / 0.018"}
    rows = []
    for name in literature:
        group = by_name[name]
        figures = [spread([c["w2_squared"][s] for c in group], 3) for s in ("euler", "dopri5")]
        rows.append([name, f"`{group[0]['coupling']}`", *figures, str(len(group)), literature[name]])
    header = ["method", "coupling", "Euler, 1 step", "dopri5", "seeds", "C²OT paper, Euler-1 / dopri5"]
    return (
        "## 8gaussians → moons, two classes\n\n"
        f"`python -m benchmarks.experiments.moons`: W2² between {first['points']:,} generated and as many "
        f"real points, exact, both classes pooled; `{first['model']}`, {first['steps']} steps of "
        f"{first['batch_size']}; mean ± standard deviation over seeds.\n\n" + table(header, rows)
    )


def _figures(info: dict[str, Any]) -> str:
    parts = (
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in info.items()
    )
    return ", ".join(parts)


def benchmarks() -> str:
    """The section on timings, from pytest-benchmark's JSON."""
    path = RESULTS / "benchmarks.json"
    if not path.exists():
        return ""
    report = json.loads(path.read_text())
    rows = [
        [f"`{entry['name']}`", f"{entry['stats']['median'] * 1e3:.1f} ms", _figures(entry["extra_info"])]
        for entry in report["benchmarks"]
    ]
    cpu = report["machine_info"]["cpu"].get("brand_raw", "CPU")
    return (
        f"## Timings\n\n`make bench`, two threads of a shared {cpu}; ratios are taken in the same run, "
        "absolute times mean little.\n\n" + table(["benchmark", "median", "figures"], rows)
    )


def main() -> None:
    """Write the page."""
    command = "python -m benchmarks.experiments.report"
    head = f"# Results\n\nGenerated by `{command}` from the JSON in `benchmarks/results`."
    sections = [head, fashion_mnist(), posterior_gap(), moons(), benchmarks()]
    TARGET.write_text("\n\n".join(filter(None, sections)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
