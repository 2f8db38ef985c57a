"""The section of a model card that an evaluation gives: every value, and in what terms it was measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from flowprior.flow.card import code, markdown_table

COLUMNS = ("split", "sampler", "nfe", "guidance", "metric")
"""What tells lines of the table apart; seeds are averaged over."""
NAMES = ("split", "sampler", "NFE", "guidance", "metric", "value", "samples", "features")
Rows = Iterable[dict[str, Any]]
SETTINGS = ("data", "seeds", "conditions", "classifier", "device", "torch", "flowprior")


def evaluation_section(rows: Rows, settings: dict[str, Any], notes: Iterable[str], real_data: str) -> str:
    """The values as a table, real data among them, with the digest of each reference; in Markdown.

    Args:
        rows: of a :class:`~flowprior.evaluation.Result` of one flow, without seconds.
        settings: its settings.
        notes: its notes.
        real_data: what the rows of real data have for a flow.
    """
    terms = [
        (name, code(_words(settings[name]))) for name in SETTINGS if settings.get(name) not in (None, "")
    ]
    terms += [(f"reference {name}", code(words)) for name, words in _references(settings)]
    several = len(settings.get("seeds", ())) > 1
    how = "Mean ± standard deviation over seeds of the measurement." if several else ""
    listed = "\n".join(f"- {code(note)}" for note in notes)
    table = markdown_table(NAMES, _lines(rows, real_data))
    return "\n\n".join(part for part in ("## Evaluation", _table(terms), how, table, listed) if part)


def _table(terms: list[tuple[str, str]]) -> str:
    return markdown_table(("what", "value"), terms)


def _references(settings: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for split, digest in settings.get("reference_digests", {}).items():
        yield split, f"{settings['reference']}, sha256 {digest}"


def _lines(rows: Rows, real_data: str) -> Iterable[list[str]]:
    """One line for each metric, split and way of sampling."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        key = (row["flow"] == real_data, *(row[name] for name in COLUMNS))
        groups.setdefault(key, []).append(row)
    for (real, split, sampler, nfe, guidance, metric), own in groups.items():
        first = own[0]
        place = [real_data if real else _cell(sampler), _words(nfe), _words(guidance)]
        value = _value([row["value"] for row in own])
        yield [_cell(split), *place, _cell(metric), value, _words(first["samples"]), _cell(first["features"])]


def _value(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4g}{deviation}"


def _cell(value: Any) -> str:
    return "" if value is None else code(value)


def _words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
