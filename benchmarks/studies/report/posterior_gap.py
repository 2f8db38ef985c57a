"""Where the error of `posterior` comes from."""

from __future__ import annotations

from benchmarks.studies.report.formatting import Cell, cells, spread, table
from benchmarks.studies.report.judges import judge_sentence


def posterior_gap() -> str:
    """What `posterior`'s source samples cost, from posterior_gap.py; one table for each judged run."""
    tables = [_table(found) for found in cells("posterior-gap")]
    if not tables:
        return ""
    head = (
        "### Where the error of `posterior` comes from\n\n"
        "`python -m benchmarks.studies.posterior_gap`: fid-cnn128 of trained flows on Fashion-MNIST from "
        "source samples inferred from training pictures, as in training, and from as many drawn from the "
        "prior, as in sampling. An inferred one also knows its picture. Judges, networks and budgets of the "
        "settings differ, so each has a table of its own."
    )
    return "\n\n".join([head, *tables])


def _table(found: Cell) -> str:
    nfes = sorted({row["nfe"] for row in found["rows"]})
    rows = [[str(nfe), *_starts(found["rows"], nfe)] for nfe in nfes]
    judge = judge_sentence([found]) or "The judge's weights were not written down; both columns are of one."
    return f"`{found['setting']}`, {found['steps']} steps. {judge}\n\n" + table(
        ["NFE", "inferred source samples", "drawn source samples"], rows
    )


def _starts(rows: list[dict[str, float]], nfe: int) -> list[str]:
    return [spread([row[kind] for row in rows if row["nfe"] == nfe]) for kind in ("inferred", "drawn")]
