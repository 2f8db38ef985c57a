"""The section of a model card that shows an evaluation."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flowprior.evaluation.result import REAL_DATA, SECONDS, Result
from flowprior.extensions.hub.contents import code, markdown_table

PLACE = ("split", "sampler", "nfe", "guidance", "metric")
"""The columns by which the lines of the table differ; values are means over seeds."""
COLUMNS = ("split", "sampler", "NFE", "guidance", "metric", "value", "samples", "features")
SETTINGS = ("data", "seeds", "conditions", "classifier", "device", "torch", "flowprior")


def section_of(result: Result) -> str:
    """Return all values and the setting of their measurement, in Markdown."""
    settings = result.settings
    found = ((name, settings.get(name)) for name in SETTINGS)
    terms = [(name, code(_words(value))) for name, value in found if value not in (None, "")]
    terms += [
        (f"reference {split}", code(f"{settings['reference']}, sha256 {digest}"))
        for split, digest in settings.get("reference_digests", {}).items()
    ]
    several = len(settings.get("seeds", ())) > 1
    how = "Mean ± standard deviation over seeds of the measurement." if several else ""
    listed = "\n".join(f"- {code(note)}" for note in result.notes)
    table = markdown_table(COLUMNS, _lines(result.rows))
    parts = ("## Evaluation", markdown_table(("what", "value"), terms), how, table, listed)
    return "\n\n".join(part for part in parts if part)


def metrics_of(result: Result) -> list[str]:
    """Return the names of the metrics, for the head of the card."""
    return list(dict.fromkeys(row["metric"] for row in result.rows if row["metric"] != SECONDS))


def _lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[str]]:
    """Yield one line for each metric, split and way of sampling."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["metric"] != SECONDS:
            key = (row["flow"] == REAL_DATA, *(row[name] for name in PLACE))
            groups.setdefault(key, []).append(row)
    for (real, split, sampler, nfe, guidance, metric), own in groups.items():
        place = [REAL_DATA if real else _cell(sampler), _words(nfe), _words(guidance)]
        values, first = [row["value"] for row in own], own[0]
        deviation = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
        value = f"{statistics.fmean(values):.4g}{deviation}"
        yield [_cell(split), *place, _cell(metric), value, _words(first["samples"]), _cell(first["features"])]


def _cell(value: Any) -> str:
    return "" if value is None else code(value)


def _words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
