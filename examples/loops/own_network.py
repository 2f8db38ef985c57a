"""
A network of your own
=====================

Any module ``v(x, t, cond)`` can be trained, sampled, evaluated and saved. The one
of this page is a small convolutional network that knows nothing of flowprior.
"""

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from flowprior import Flow, train
from flowprior.data import load_data
from flowprior.pictures import beside

# %%
# Events arrive as ``[B, 1, 8, 8]``, times as ``[B]`` in [0, 1], labels as ``[B]``.
# What comes back is a velocity of the shape of the events.


class Network(nn.Module):
    """Three convolutions; time and label are added to the channels of the first."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.label = nn.Embedding(10, width)
        self.time = nn.Sequential(
            nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        added = self.time(t[:, None]) + self.label(cond)
        hidden = nn.functional.silu(self.first(x) + added[:, :, None, None])
        return self.last(nn.functional.silu(self.second(hidden)))


# %%
# :func:`flowprior.train` takes the instance where it would take a name. Prior and
# coupling work as with every other network.

digits = load_data("digits")
flow = train(
    digits,
    prior="gmm:covariance=lowrank,rank=8,reg_covar=0.16",
    coupling="ot",
    model=Network(),
    steps=400,
    seed=0,
)

# %%
# The left half shows source samples (no evaluation of the network), the right half
# what the flow makes of them. Both start from the same generator, so that each
# picture on the right comes from the one at its place on the left.

labels = torch.arange(10).repeat_interleave(8)
panels = {}
for name, nfe in {"source samples": 0, "four evaluations": 4}.items():
    samples = flow.sample(
        labels, nfe=nfe, generator=torch.Generator().manual_seed(1)
    )
    panels[name] = (samples, labels)

figure = beside(panels, title="Digits by a network of your own")
figure

# %%
# A saved flow holds the weights but not the code of a class that is yours. To load
# it, give an instance of that class.

with tempfile.TemporaryDirectory() as folder:
    flow.save(Path(folder) / "flow")
    again = Flow.load(Path(folder) / "flow", model=Network())
same = again.sample(labels, nfe=4, generator=torch.Generator().manual_seed(1))
print(
    "loaded, and the samples are the same:",
    torch.equal(same, panels["four evaluations"][0]),
)
