"""8gaussians → moons."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from benchmarks.studies.report.formatting import cells, spread, table


def moons() -> str:
    """The section on 8gaussians → moons."""
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for cell in cells("moons"):
        by_name[cell["name"]].append(cell)
    first = next(iter(by_name.values()))[0]
    literature = {"FM": "2.573 / 0.059", "OT": "0.483 / 0.462", "C2OT, within": "0.048 / 0.018"}
    rows = []
    for name in literature:
        group = by_name[name]
        figures = [spread([c["w2_squared"][s] for c in group], 3) for s in ("euler", "dopri5")]
        rows.append([name, f"`{group[0]['coupling']}`", *figures, str(len(group)), literature[name]])
    header = ["method", "coupling", "Euler, 1 step", "dopri5", "seeds", "C²OT paper, Euler-1 / dopri5"]
    return (
        "## 8gaussians → moons, two classes\n\n"
        f"`python -m benchmarks.studies.moons`: W2² between {first['points']:,} generated and as many "
        f"real points, exact, both classes pooled; `{first['model']}`, {first['steps']} steps of "
        f"{first['batch_size']}; mean ± standard deviation over seeds.\n\n" + table(header, rows)
    )
