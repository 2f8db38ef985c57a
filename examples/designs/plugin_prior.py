"""
A prior of your own
===================

A registered class is a prior like any other: ``train`` finds it by its name, its
options are parsed and recorded, and a saved flow is loaded with it. This page
writes one for points that lie around a circle.
"""

import math

import torch
from torch import Tensor

from flowprior import Prior, train
from flowprior.data import load_data
from flowprior.metrics import wasserstein2_squared
from flowprior.pictures import beside

# %%
# The radius is normal, with mean and deviation of the data, and the angle is
# uniform. In the plane the density is that of the radius over the length of its
# circle:
#
# .. math::
#    p(x) = \frac{\mathcal{N}(\lVert x \rVert;\, r, s^2)}{2 \pi \lVert x \rVert}.
#
# The constructor stores its options. What ``_fit`` learns goes into buffers, so
# that it is moved and saved with the flow.


@Prior.register("ring")
class RingPrior(Prior):
    """Points around a circle about the origin: a normal radius, a uniform angle.

    Args:
        widen: factor of the radius's deviation in the data.
    """

    takes = ()  # no condition

    def __init__(self, widen: float = 1.0) -> None:
        super().__init__()
        self.widen = widen
        self.register_buffer("radius", torch.empty(2))

    def _fit(self, data, generator) -> None:
        lengths = torch.cat([x.norm(dim=1) for x, _ in data])
        self.radius = torch.stack([lengths.mean(), self.widen * lengths.std()])

    def _sample(self, cond, n: int, generator: torch.Generator | None) -> Tensor:
        mean, spread = self.radius
        length = mean + spread * torch.randn(n, generator=generator)
        angle = 2 * math.pi * torch.rand(n, generator=generator)
        return torch.stack([length * angle.cos(), length * angle.sin()], dim=1)

    def _log_prob(self, x: Tensor, cond) -> Tensor:
        length = x.norm(dim=1)
        mean, spread = self.radius
        radial = torch.distributions.Normal(mean, spread).log_prob(length)
        return radial - (2 * math.pi * length).log()

    def _mean(self, cond, n: int) -> Tensor:
        return self.radius.new_zeros(n, 2)


# %%
# It is in the list, with the option that it brings, and its density integrates to
# one.

print(Prior.record("ring").description, dict(Prior.record("ring").options))

x, _ = load_data("8gaussians:n=2000").batch(torch.arange(2000))
real, _ = load_data("8gaussians:n=2000", split="test").batch(torch.arange(600))
prior = Prior.create("ring").fit(x)
side = torch.linspace(-9, 9, 400)
plane = torch.cartesian_prod(side, side)
cell = (side[1] - side[0]) ** 2
print(f"integral over the plane: {prior.log_prob(plane).exp().sum() * cell:.3f}")

# %%
# Two short trainings, alike but for the prior:

panels = {}
for name in ("gaussian", "ring:widen=1.5"):
    flow = train(
        x,
        prior=name,
        coupling="ot",
        model="mlp:width=64",
        batch_size=128,
        steps=500,
        seed=0,
    )
    samples = flow.sample(n=600, nfe=2, generator=torch.Generator().manual_seed(1))
    heading = f"{name}: W2² = {wasserstein2_squared(samples, real):.2f}"
    panels[heading] = (samples, None)
    print(heading)

title = "Eight Gaussians without labels, two evaluations"
figure = beside(panels, real=real, title=title)
figure
