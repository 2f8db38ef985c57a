"""The section of a model card that an evaluation gives: every value, and in what terms it was measured."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flowprior.evaluation.result import REAL_DATA, SECONDS, Result
from flowprior.flow.card import code, markdown_table
from flowprior.flow.card_file import EVALUATION, add_to_card
from flowprior.study.statistics import spread

COLUMNS = ("split", "sampler", "nfe", "guidance", "metric")
"""What tells lines of the table apart; seeds are averaged over."""
NAMES = ("split", "sampler", "NFE", "guidance", "metric", "value", "samples", "features")
SETTINGS = ("data", "seeds", "conditions", "classifier", "device", "torch", "flowprior")


def add_evaluation(folder: Path, result: Result, digest: str | None) -> None:
    """Put what an evaluation found into the card of a saved flow, in place of what is there.

    Args:
        folder: of the saved flow.
        result: of one flow.
        digest: sha256 of its weights when it was read; None where it is no saved flow, which has no card.
    """
    if digest is not None:
        add_to_card(folder, EVALUATION, evaluation_section(result), digest)


def evaluation_section(result: Result) -> str:
    """The values as a table, real data among them, with the digest of each reference; in Markdown."""
    settings = result.settings
    terms = [
        (name, code(_words(settings[name]))) for name in SETTINGS if settings.get(name) not in (None, "")
    ]
    terms += [(f"reference {name}", code(words)) for name, words in _references(settings)]
    several = len(settings["seeds"]) > 1
    how = "Mean ± standard deviation over seeds of the measurement." if several else ""
    notes = "\n".join(f"- {code(note)}" for note in result.notes)
    table = markdown_table(NAMES, _lines(result))
    return "\n\n".join(part for part in ("## Evaluation", _table(terms), how, table, notes) if part)


def _table(terms: list[tuple[str, str]]) -> str:
    return markdown_table(("what", "value"), terms)


def _references(settings: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for split, digest in settings.get("reference_digests", {}).items():
        yield split, f"{settings['reference']}, sha256 {digest}"


def _lines(result: Result) -> Iterable[list[str]]:
    """One line for each metric, split and way of sampling."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in result.rows:
        if row["metric"] != SECONDS:
            key = (row["flow"] == REAL_DATA, *(row[name] for name in COLUMNS))
            groups.setdefault(key, []).append(row)
    for (real, split, sampler, nfe, guidance, metric), rows in groups.items():
        first = rows[0]
        place = [REAL_DATA if real else _cell(sampler), _words(nfe), _words(guidance)]
        value = _value([row["value"] for row in rows])
        yield [_cell(split), *place, _cell(metric), value, _words(first["samples"]), _cell(first["features"])]


def _value(values: list[float]) -> str:
    found = spread(values)
    return f"{found.mean:.4g}" + ("" if found.std is None else f" ± {found.std:.2g}")


def _cell(value: Any) -> str:
    return "" if value is None else code(value)


def _words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
