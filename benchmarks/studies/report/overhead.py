"""What a prior costs to fit and to keep, and how that grows."""

from __future__ import annotations

from typing import Any

from benchmarks.studies.overhead import BY_CONDITIONS, BY_DIMENSIONS, slope
from benchmarks.studies.report.formatting import Cell, cells, grouped, table

AXES = {"conditions": "conditions", "dims": "dimensions"}


def overhead() -> str:
    """The section; "" where nothing has run."""
    found = cells("overhead")
    if not found:
        return ""
    first = found[0]
    quiet = sum("clock" not in cell and "failed" not in cell for cell in found)
    head = (
        "## What a prior costs\n\n"
        f"`python -m benchmarks.studies.overhead`: {len(found)} measurements, each in a process of "
        f"its own "
        f"of at most 8 GiB, on one thread of {first['processor']}, torch {first['torch']}; "
        f"{quiet} of them by the wall clock of a quiet machine, the others by processor time on a busy one, "
        "which can be twice as long. Fit is without the making of the data; peak is what the fit holds above "
        "what the process held before; kept is the prior's state; sampling and log-density are for "
        "1,000 rows. "
        "Growth is the exponent p of cost ∝ size^p by least squares on both logarithms over the measured "
        "sizes; a fixed cost (a batch of rows in memory, a pass over the data) makes it smaller than the law "
        "for large sizes, so the step between the two largest measured sizes stands beside it in brackets. "
        "After a size that was not done in time, larger ones were not tried."
    )
    return "\n\n".join([head, *(_axis(axis, found) for axis in AXES)])


def _axis(axis: str, found: list[Cell]) -> str:
    along = [cell for cell in found if cell["axis"] == axis]
    fixed = (
        f"{BY_CONDITIONS['rows']:,} rows of {BY_CONDITIONS['dims']} numbers"
        if axis == "conditions"
        else f"{BY_DIMENSIONS['rows']:,} rows, {BY_DIMENSIONS['conditions']} conditions"
    )
    rows = []
    for prior, group in grouped(along, "prior").items():
        ordered = sorted(group, key=lambda cell: cell[axis])
        rows += [[prior, f"{cell[axis]:,}", *_figures(cell)] for cell in ordered]
        rows.append(["", "growth p", *_growth(axis, ordered)])
    header = [
        "prior",
        AXES[axis],
        "fit, s",
        "peak of the fit, MiB",
        "kept, MiB",
        "sample, ms",
        "log-density, ms",
    ]
    return f"### Against the number of {AXES[axis]}: {fixed}\n\n" + table(header, rows)


COSTS = (
    ("fit_seconds", 1.0, 2),
    ("fit_peak_bytes", 2.0**-20, 0),
    ("state_bytes", 2.0**-20, 2),
    ("sample_seconds", 1e3, 2),
    ("log_prob_seconds", 1e3, 2),
)


def _figures(cell: Cell) -> list[str]:
    if "failed" in cell:
        return [cell["failed"], *["–"] * (len(COSTS) - 1)]
    return [f"{cell[key] * scale:.{digits}f}" for key, scale, digits in COSTS]


def _growth(axis: str, ordered: list[Cell]) -> list[str]:
    done = [cell for cell in ordered if "failed" not in cell]
    return [_exponent([cell[axis] for cell in done], [cell[key] for cell in done]) for key, _, _ in COSTS]


def _exponent(sizes: list[Any], costs: list[float]) -> str:
    whole, last = slope(sizes, costs), slope(sizes[-2:], costs[-2:])
    if whole is None:
        return "–"
    return f"{whole:.2f}" if last is None else f"{whole:.2f} [{last:.2f}]"
