"""What is read off the study of sizes: the design's distance over CondOT's, against the pictures' side."""

from __future__ import annotations

import re
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.studies import emoji
from flowprior.pictures import save_figure
from flowprior.registry import parse_spec
from flowprior.study.table import DataFrame, trained

CONDOT = "condot"
EMBEDDED = 32
"""Side of the pictures in the package."""


def side_of(data: str) -> int:
    """Pixels of a data set's spec: the number at the end of its file's name, or the package's."""
    path = parse_spec(data, "data").options.get("path")
    found = re.search(r"(\d+)$", Path(str(path)).stem) if path else None
    if path and not found:
        raise ValueError(f"{data}: expected a file whose name ends in its side, such as emoji-64.npz")
    return int(found.group(1)) if found else EMBEDDED


def at_own_temperature(table: DataFrame) -> DataFrame:
    """Kernel distance on the test split: a row for each (side, flow), a column for each NFE.

    One more column is the ``temperature``, that of :func:`benchmarks.studies.emoji.suited`.
    """
    suited = {
        (side_of(str(data)), flow): temperature
        for data, rows in table.groupby("data")
        for flow, temperature in emoji.suited(rows).items()
    }
    seen = trained(table, emoji.DISTANCE, emoji.SEEN)
    seen = seen.assign(side=seen["data"].map(side_of), temperature=seen["sampler"].map(emoji.temperature_of))
    own = seen[
        [
            suited.get((side, flow)) == temperature
            for side, flow, temperature in zip(seen["side"], seen["flow"], seen["temperature"], strict=True)
        ]
    ]
    found = own.pivot_table(index=["side", "flow"], columns="nfe", values="value").sort_index()
    return found.assign(temperature=[suited[key] for key in found.index])


def ratios(found: DataFrame) -> DataFrame:
    """Each design's distance over CondOT's: a row for each (side, flow), a column for each NFE."""
    values = found.drop(columns="temperature")
    flows = values.index.get_level_values("flow")
    designs, base = values[flows != CONDOT], values.xs(CONDOT, level="flow")
    return designs / base.reindex(designs.index.get_level_values("side")).set_axis(designs.index)


def draw_curve(found: DataFrame, path: Path) -> None:
    """The ratio at each NFE against the side."""
    own = ratios(found)
    figure = Figure(figsize=(4.6, 3.0), layout="constrained")
    axes = figure.subplots()
    for flow, curves in own.groupby("flow"):
        sides = list(curves.index.get_level_values("side"))
        for nfe in (nfe for nfe in curves if nfe > 0):
            axes.plot(sides, list(curves[nfe]), "o-", label=f"{flow}, NFE {nfe}")
    sides = sorted(set(own.index.get_level_values("side")))
    axes.set_xscale("log", base=2)
    axes.set_xticks(sides, [str(side) for side in sides])
    axes.axhline(1, color="C7", linewidth=0.8)
    axes.set_xlabel("side of the pictures in pixels (from 128 on in latents)")
    axes.set_ylabel("kernel distance over CondOT's")
    axes.legend(fontsize=8, frameon=False)
    save_figure(figure, path)
