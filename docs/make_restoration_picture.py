"""Draw docs/images/restoration.png: what was given, what a trained flow makes of it, and the truth.

flowprior train --data restoration:of=fashion-mnist … --out runs/restore
python docs/make_restoration_picture.py runs/restore
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from flowprior import Flow
from flowprior.data import load_data
from flowprior.pictures import beside, given_pictures, save_figure

PICTURE = Path(__file__).parent / "images" / "restoration.png"
SHOWN = (0, 1, 2, 13, 18, 23)
"""Places in the test split."""
EACH = 4


def main(run: str) -> None:
    """One row a picture of the test split: its observation, the prior's mean, samples, and itself."""
    flow = Flow.load(run)
    truth, cond = load_data("restoration:of=fashion-mnist", "test").batch(torch.tensor(SHOWN))
    rows = torch.arange(len(SHOWN))
    many = rows.repeat_interleave(EACH)
    assert isinstance(cond, torch.Tensor)
    drawn = {
        nfe: flow.sample(cond[many], nfe=nfe, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
        for nfe in (0, 15)
    }
    given = given_pictures(cond, flow.event_shape)
    assert given is not None
    panels = {
        "given": (given, rows),
        "prior mean": (flow.prior.mean(cond).clamp(-1, 1), rows),
        "source samples": (drawn[0], many),
        "flow, 15 evaluations": (drawn[15], many),
        "truth": (truth, rows),
    }
    save_figure(beside(panels, names=[""] * len(SHOWN), columns=EACH), PICTURE)


if __name__ == "__main__":
    main(sys.argv[1])
