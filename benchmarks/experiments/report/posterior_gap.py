"""Where the error of `posterior` comes from."""

from __future__ import annotations

from benchmarks.experiments.report.formatting import cells, spread, table


def posterior_gap() -> str:
    """What `posterior`'s starts cost, from posterior_gap.py."""
    rows = [
        [f"`{found['setting']}`", str(found["steps"]), str(nfe), *_starts(found["rows"], nfe)]
        for found in cells("posterior-gap")
        for nfe in sorted({row["nfe"] for row in found["rows"]})
    ]
    if not rows:
        return ""
    return (
        "### Where the error of `posterior` comes from\n\n"
        "`python -m benchmarks.experiments.posterior_gap`: fid-cnn128 of trained flows on Fashion-MNIST from "
        "starts inferred from training pictures, as in training, and from as many drawn from the prior, as "
        "in sampling. An inferred start also knows its picture. Networks and budgets of the settings differ: "
        "compare within a row.\n\n"
    ) + table(["setting", "steps", "NFE", "inferred starts", "drawn starts"], rows)


def _starts(rows: list[dict[str, float]], nfe: int) -> list[str]:
    return [spread([row[kind] for row in rows if row["nfe"] == nfe]) for kind in ("inferred", "drawn")]
