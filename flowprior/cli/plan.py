"""What ``flowprior compare --dry-run`` says: the cells, and what is done already."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from flowprior.cli.commands import print_json, print_rich

if TYPE_CHECKING:
    from rich.table import Table

    from flowprior.study import Preview


def show_plan(found: Preview, json: bool) -> None:
    """Print the plan as a table and lines, or as JSON."""
    if json:
        print_json(_as_dict(found))
    else:
        skipped = [f"skipped {_name_of(row)}: {row['reason']}" for row in found.skipped]
        print_rich(_table(found), *skipped, _training(found.grid), _what_is_left(found))


def _as_dict(found: Preview) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(found) | {"to_run": len(found.to_run)}


def _name_of(row: dict[str, Any]) -> str:
    return f"{row['variant']} by {row['sampler']}" if row["sampler"] else row["variant"]


def _table(found: Preview) -> Table:
    """One row a variant: how many of its cells are in which state."""
    from rich.table import Table
    from rich.text import Text

    from flowprior.study.preview import STATES

    table = Table(title=Text(f"cells on {found.grid['data']}", "table.title"), title_justify="left")
    table.add_column("variant", overflow="fold")
    for state in STATES:
        table.add_column(state, justify="right")
    for label in dict.fromkeys(cell.variant for cell in found.cells):
        counts = Counter(cell.state for cell in found.cells if cell.variant == label)
        table.add_row(Text(label), *(str(counts[state] or "") for state in STATES))
    return table


def _training(grid: dict[str, Any]) -> str:
    """The budget of every cell, and what is asked of its flow."""
    training, nfe = grid["training"], ", ".join(map(str, grid["nfe"]))
    return (
        f"each: {training['steps']:,} steps of {training['batch_size']} pairs, model {grid['model']}; "
        f"{grid['samples']:,} samples at NFE {nfe}"
    )


def _what_is_left(found: Preview) -> str:
    left = len(found.to_run)
    if not left:
        return f"all {len(found.cells)} cells are finished; nothing is to be run"
    return f"{left} of {len(found.cells)} cells to run"
