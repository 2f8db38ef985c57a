"""Does the ranking of `inspect` foretell trained quality?"""

from __future__ import annotations

import json
from typing import Any

from benchmarks.studies.report.formatting import RESULTS, cells, counted, table
from benchmarks.studies.report.judges import judge_sentence

FEW = 8
"""Settings below which a rank correlation is called what it is."""


def inspect_ranking() -> str:
    """Scores beside trained figures and their rank correlations, from inspect_ranking.py."""
    path = RESULTS / "inspect-ranking.json"
    if not path.exists():
        return ""
    folders: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    head = (
        "## What `inspect` says beforehand\n\n"
        "`python -m benchmarks.studies.inspect_ranking`: the score of `flowprior inspect`, computed "
        "before any network is trained (lower is better), beside the figures of the trained flows at 4 "
        "evaluations, averaged over seeds. The form of the score was chosen on digits, so its correlation "
        "there flatters; the other data check it. Spearman's correlation of ranks is over one table; "
        "the goal is 0.8."
    )
    return "\n\n".join([head, *(_folder(name, result) for name, result in sorted(folders.items()))])


def _folder(name: str, result: dict[str, Any]) -> str:
    metrics = list(result["spearman"])
    rows = [
        [
            f"`{row['prior']}` + `{row['coupling']}`",
            str(row["seeds"]),
            f"{row['score']:.4f}",
            *(f"{row[metric]:.4g}" for metric in metrics),
        ]
        for row in result["rows"]
    ]
    found = "; ".join(f"{metric} {_correlations(result['spearman'][metric])}" for metric in metrics)
    agreement = result.get("agreement")
    few = " Of so few settings a correlation says little." if result["settings"] < FEW else ""
    agree = "" if agreement is None else f" The two features agree with each other by {agreement:.2f}."
    return (
        f"**{name}**, {counted(result['settings'], 'setting')}, {counted(result['cells'], 'cell')}. "
        f"Spearman: {found}.{few}{agree} {judge_sentence(cells(name))}\n\n"
        + table(["prior + coupling", "seeds", "score", *metrics], rows)
    )


def _correlations(by_score: dict[str, float | None]) -> str:
    if by_score["score"] is None:
        return "too few settings"
    others = ", ".join(
        f"{name.replace('_', ' ')} alone {value:.2f}" for name, value in by_score.items() if name != "score"
    )
    return f"**{by_score['score']:.2f}** ({others})"
