"""The report of a study, from what is on the disk: report.json, and one HTML page that loads nothing else."""

from __future__ import annotations

from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tomli_w

from flowprior.errors import FlowpriorError
from flowprior.report.charts import convergence_charts, quality_charts, styles
from flowprior.report.gallery import galleries
from flowprior.report.tables import cost_tables, flow_table, quality_tables
from flowprior.report.wording import (
    DASH,
    against,
    comma_list,
    convergence_sentence,
    count,
    in_short,
    prior_sentence,
    test_note,
    with_spread,
)
from flowprior.storage import write_text
from flowprior.study.cell_file import Collection, StudyFolder, collect, write_object
from flowprior.study.summary import VALIDATION, long_table, summarise


def require_report_extra() -> None:
    """Refuse to begin where the report could not be written in the end.

    Raises:
        FlowpriorError: jinja2 or pandas is not installed.
    """
    for package in ("jinja2", "pandas"):
        if find_spec(package) is None:
            raise FlowpriorError(f"compare: the report needs {package}; pip install 'flowprior[plot]'")


def write_report(
    out: str | Path, *, baseline: str | None = None, metric: str | None = None
) -> dict[str, Any]:
    """Write OUT/report.json and OUT/report.html; cells without a result are listed as such.

    Args:
        out: directory of the comparison.
        baseline: what to compare with from now on; None leaves it as it is.
        metric: what the summary is about from now on; None leaves it as it is.

    Returns:
        What report.json holds.

    Raises:
        CheckpointError: there is no comparison, or a file is damaged or cannot be written.
        OptionError: the grid names a baseline or a metric that there is not.
        FlowpriorError: the plot extra is not installed.
    """
    folder = StudyFolder(out)
    require_report_extra()
    collection = collect(folder)
    changes = {"baseline": baseline, "metric": metric}
    collection.grid |= {name: value for name, value in changes.items() if value is not None}
    summary = summarise(collection)
    if any(changes.values()):
        write_object(folder.plan, {**folder.read_plan(), "grid": collection.grid})
        write_text(folder.grid, tomli_w.dumps(collection.grid))
    write_object(folder.values, summary)
    write_text(folder.report, build_page(summary, folder, collection, tomli_w.dumps(collection.grid)))
    return summary


def build_page(summary: dict[str, Any], folder: StudyFolder, collection: Collection, toml: str) -> str:
    """The page.

    Args:
        summary: what report.json holds.
        folder: where the samples are.
        collection: what the summary was made of.
        toml: the grid.
    """
    looks = styles([variant for variant in summary["variants"] if not variant["skipped"]])
    pictures = galleries(collection)
    table = long_table(collection)
    table = table[table["split"] != VALIDATION]
    content = {
        "title": f"Priors and couplings on {summary['grid']['data'].partition(':')[0]}",
        "lead": in_short(summary),
        "alerts": _alerts(summary),
        "facts": _facts(summary),
        "baseline": summary["baseline"],
        "metric": summary["metric"],
        "better": summary["metrics"][summary["metric"]]["better"] if summary["metric"] else "",
        "winners": _winners(summary),
        "test_note": test_note(summary),
        "prior_note": prior_sentence(summary, summary["metric"]),
        "styles": looks,
        "quality": quality_charts(summary, table, looks),
        "convergence": convergence_charts(summary, table, looks),
        "convergence_sentences": [
            convergence_sentence(row, summary["baseline"])
            for row in summary["convergence"]
            if row["metric"] == summary["metric"]
        ],
        "curve_samples": summary["grid"]["curve"]["samples"],
        "galleries": pictures,
        "gallery_note": _gallery_note(summary),
        "tables": quality_tables(summary),
        "flow_table": flow_table(summary),
        **cost_tables(summary),
        "left_out": _left_out(summary),
        "variants": _variants(summary),
        "settings": _settings(summary),
        "toml": toml,
        "out": folder.path,
    }
    content["sections"] = _sections(content)
    return _template().render(**content)


def _template() -> Any:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    room = files("flowprior.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.globals["css"] = Markup(room.joinpath("page.css").read_text(encoding="utf-8"))
    return environment.from_string(room.joinpath("page.html.jinja").read_text(encoding="utf-8"))


def _sections(content: dict[str, Any]) -> list[tuple[str, str]]:
    """(id, name) of the sections that have something in them."""
    every = {
        "best": ("winners", "Best"),
        "quality": ("quality", "Quality"),
        "convergence": ("convergence", "Training"),
        "samples": ("galleries", "Samples"),
        "values": ("tables", "Values"),
        "costs": ("costs", "Costs"),
        "left-out": ("left_out", "Left out"),
    }
    found = [(place, name) for place, (key, name) in every.items() if content[key]]
    return [*found, ("settings", "Settings")]


def _alerts(summary: dict[str, Any]) -> list[str]:
    alerts = []
    for kind, text in {"failed": "failed", "waiting": "not been run yet"}.items():
        count = len(summary[kind])
        if count:
            verb = "" if kind == "failed" else ("has " if count == 1 else "have ")
            alerts.append(f"{count} cell{'s' * (count != 1)} {verb}{text}: the values are of the others.")
    if len(summary["settings"]["parameters"]) > 1:
        sizes = comma_list([f"{size:,}" for size in summary["settings"]["parameters"]])
        alerts.append(f"The cells do not share one network: {sizes} parameters.")
    return alerts


def _facts(summary: dict[str, Any]) -> list[tuple[str, str]]:
    grid, settings = summary["grid"], summary["settings"]
    sizes = settings["parameters"]
    training = grid["training"]
    return [
        ("data", grid["data"]),
        ("network", f"{grid['model']}, {sizes[0]:,} parameters" if sizes else grid["model"]),
        ("budget", f"{training['steps']:,} steps of {training['batch_size']}"),
        ("seeds", f"{len(grid['seeds'])}"),
        ("samples evaluated", f"{grid['samples']:,} at each NFE"),
        ("reference", comma_list(settings["evaluation"]["reference"]) or DASH),
    ]


def _winners(summary: dict[str, Any]) -> list[dict[str, Any]]:
    several = len(summary["samplers"]) > 1
    rows = [row for row in summary["best"] if row["metric"] == summary["metric"]]
    better = summary["metrics"][summary["metric"]]["better"] if rows else ""
    return [
        {
            "nfe": count(row["nfe"]),
            "unit": "evaluation" if row["nfe"] == 1 else "evaluations",
            "sampler": row["sampler"] if several else "",
            "variant": row["variant"],
            "value": with_spread(row["mean"], row["std"]),
            "test": row["against_baseline"],
            "words": against(row, better) or _untested(row, summary["baseline"]),
        }
        for row in rows
    ]


def _untested(row: dict[str, Any], baseline: str) -> str:
    return "the baseline itself" if row["variant"] == baseline else "no baseline to compare with"


def _left_out(summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        *[
            ("skipped", f"{row['variant']}{' by ' + row['sampler'] if row['sampler'] else ''}", row["reason"])
            for row in summary["skipped"]
        ],
        *[("failed", f"{row['variant']}, seed {row['seed']}", row["error"]) for row in summary["failed"]],
        *[("not run yet", f"{row['variant']}, seed {row['seed']}", "") for row in summary["waiting"]],
    ]


def _variants(summary: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {**variant, "seeds": ", ".join(str(c["seed"]) for c in variant["cells"] if c["done"]) or "none"}
        for variant in summary["variants"]
        if not variant["skipped"]
    ]


def _settings(summary: dict[str, Any]) -> list[tuple[str, str]]:
    grid, settings = summary["grid"], summary["settings"]
    training = grid["training"]
    rows = [
        ("optimiser", f"AdamW, lr {training['lr']:g}, warm-up {training['warmup']}, EMA {training['ema']:g}"),
        ("precision", training["precision"]),
        ("samplers", ", ".join(summary["samplers"].values())),
        ("guidance", f"{grid['guidance']:g}"),
        ("classifier", _joined(settings["evaluation"]["classifier"]) or "none"),
        ("features", _joined(settings["evaluation"]["features"])),
    ]
    rows += [(name.replace("_", " "), _joined(values)) for name, values in settings["machine"].items()]
    rows += [("note", note) for note in settings["notes"]]
    return [(name, value) for name, value in rows if value]


def _gallery_note(summary: dict[str, Any]) -> str:
    return (
        f"The same conditions, from the file that the values were computed from, drawn by "
        f"{next(iter(summary['grid']['samplers']))}; not chosen, the first ones."
    )


def _joined(values: list[Any]) -> str:
    return ", ".join(map(str, values))
