"""The section of a model card that shows an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flowprior.display.shown import markdown_table
from flowprior.evaluation.result import REAL_DATA, SECONDS, Result
from flowprior.evaluation.summary import as_text, means_over_seeds
from flowprior.extensions.hub.contents import code

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
    for row in means_over_seeds(row for row in rows if row["metric"] != SECONDS):
        sampler = REAL_DATA if row["variant"] == REAL_DATA else _cell(row["sampler"])
        place = [
            _cell(row["split"]),
            sampler,
            _words(row["nfe"]),
            _words(row["guidance"]),
            _cell(row["metric"]),
        ]
        yield [*place, as_text(row), _words(row["samples"]), _cell(row["features"])]


def _cell(value: Any) -> str:
    return "" if value is None else code(value)


def _words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
