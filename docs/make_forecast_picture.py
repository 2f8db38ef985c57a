"""Draw docs/images/forecasting.png: three windows of the test split, and the fans of a flow's forecasts.

flowprior train --data weather … --out runs/weather
python docs/make_forecast_picture.py runs/weather
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from flowprior import Flow
from flowprior.extensions.series.data import weather
from flowprior.extensions.series.fans import fans
from flowprior.pictures import save_figure

PICTURE = Path(__file__).parent / "images" / "forecasting.png"
SHOWN = {"winter": 60, "spring": 540, "autumn": 1000}
"""Places in the test split."""
MEMBERS = 200
ROWS = {"temperature at JFK, °F": (3, 6), "wind speed at JFK, mph": (5, 8)}
"""Row of an event, and of a condition."""


def main(run: str) -> None:
    """A column a window, a row a quantity: 72 hours before, the truth, and bands of the forecasts."""
    flow, data = Flow.load(run), weather("test")
    real, cond = data.batch(torch.tensor(list(SHOWN.values())))
    drawn = flow.sample(cond.repeat_interleave(MEMBERS, 0), generator=torch.Generator().manual_seed(0))
    forecast = drawn.view(len(SHOWN), MEMBERS, *real.shape[1:])
    members, truth, before = {}, {}, {}
    for name, (row, known) in ROWS.items():
        scale, shift = data.scale[row], data.shift[row]
        members[name], truth[name] = forecast[:, :, row] * scale + shift, real[:, row] * scale + shift
        before[name] = cond[:, known] * scale + shift
    save_figure(fans(members, truth, before, windows=list(SHOWN)), PICTURE)


if __name__ == "__main__":
    main(sys.argv[1])
