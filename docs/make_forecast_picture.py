"""Draw docs/images/forecasting.png: three windows of the test split, and the fans of a flow's forecasts.

flowprior train --data weather … --out runs/weather
python docs/make_forecast_picture.py runs/weather
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure

from flowprior import Flow
from flowprior.data.weather import AHEAD, BEFORE, weather
from flowprior.pictures import save_figure

PICTURE = Path(__file__).parent / "images" / "forecasting.png"
SHOWN = (60, 540, 1000)
"""Places in the test split: winter, spring, autumn."""
MEMBERS = 200
ROWS = {"temperature at JFK, °F": (3, 6), "wind speed at JFK, mph": (5, 8)}
"""Row of an event, and of a condition."""
INTERVALS = {"90 %": (0.05, 0.95, 0.25), "50 %": (0.25, 0.75, 0.45)}


def main(run: str) -> None:
    """A column a window, a row a quantity: 72 hours before, the truth, and intervals of the forecasts."""
    flow, data = Flow.load(run), weather("test")
    truth, cond = data.batch(torch.tensor(SHOWN))
    many = cond.repeat_interleave(MEMBERS, 0)
    drawn = flow.sample(many, nfe=15, generator=torch.Generator().manual_seed(0))
    members = drawn.view(len(SHOWN), MEMBERS, *truth.shape[1:])
    figure = Figure(figsize=(10.0, 5.0), layout="constrained")
    panels = figure.subplots(len(ROWS), len(SHOWN), sharex=True, squeeze=False)
    before, ahead = torch.arange(-BEFORE, 0), torch.arange(AHEAD)
    for line, (name, (row, known)) in zip(panels, ROWS.items(), strict=True):
        scale, shift = data.scale[row], data.shift[row]
        for axes, real, given, forecast in zip(line, truth, cond, members, strict=True):
            for label, (low, high, alpha) in INTERVALS.items():
                ends = (forecast[:, row].quantile(torch.tensor([low, high]), 0) * scale + shift).numpy()
                axes.fill_between(ahead, *ends, color="tab:blue", alpha=alpha, linewidth=0, label=label)
            measured = torch.cat([given[known], real[row]]) * scale + shift
            axes.plot(torch.cat([before, ahead]), measured, color="black", linewidth=1, label="measured")
            axes.axvline(0, color="grey", linewidth=0.5)
        line[0].set_ylabel(name)
    for axes in panels[-1]:
        axes.set_xlabel("hours from now")
    panels[0][0].legend(fontsize=8, frameon=False)
    save_figure(figure, PICTURE)


if __name__ == "__main__":
    main(sys.argv[1])
