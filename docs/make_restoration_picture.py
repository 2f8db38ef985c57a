"""Draw a picture of docs/images: what was given, what a trained flow makes of it, and the truth.

flowprior train --data restoration:of=fashion-mnist … --out runs/restore
python docs/make_restoration_picture.py runs/restore restoration
python docs/make_restoration_picture.py RUN emoji-super-resolution
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from flowprior import Flow
from flowprior.data import load_data
from flowprior.pictures import beside, given_pictures, save_figure

IMAGES = Path(__file__).parent / "images"
EMOJI = (532, 623, 600, 510, 795, 650, 829)
SHOWN = {
    "restoration": ("restoration:of=fashion-mnist", (0, 1, 2, 13, 18, 23)),
    "emoji-super-resolution": ("restoration:of=emoji", EMOJI),
    "emoji-inpainting": ("restoration:of=emoji,task=inpainting", EMOJI),
}
"""Name of the picture -> the data, and places in their test split."""
EACH = 4


def main(run: str, name: str) -> None:
    """One row a picture of the test split: its observation, the prior's mean, samples, and itself."""
    flow = Flow.load(run)
    spec, places = SHOWN[name]
    truth, cond = load_data(spec, "test").batch(torch.tensor(places))
    rows = torch.arange(len(places))
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
    save_figure(beside(panels, names=[""] * len(places), columns=EACH), IMAGES / f"{name}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
