"""
The path and the solver of flow_matching, with a designed prior
===============================================================

Path, loss and solver of this page are those of facebookresearch/flow_matching; the
source samples are ours. :doc:`/from-flow-matching` maps the rest of it.
"""
# sphinx_gallery_needs = "flow_matching"

import torch
from flow_matching.path import CondOTProbPath
from flow_matching.solver import ODESolver
from flow_matching.utils import ModelWrapper
from torch import Tensor, nn

from flowprior import Coupling, Flow, Path, Prior
from flowprior.data import load_data
from flowprior.pictures import beside

# %%
# Eight classes, each a round cloud. The prior has the mean and one variance of
# each, fitted in one pass.

modes = load_data("eight-modes:n=2000")
x, labels = modes.batch(torch.arange(len(modes)))
assert isinstance(labels, Tensor)
prior = Prior.create("gmm", covariance="spherical")
prior.fit(modes.batches(), generator=torch.Generator().manual_seed(0))
coupling = Coupling.create("ot")


class Network(nn.Module):
    """A small v(x, t, label), with one time for all rows or one for each."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(8, 16)
        self.layers = nn.Sequential(
            nn.Linear(19, 64),
            nn.SiLU(),
            nn.Linear(64, 64),
            nn.SiLU(),
            nn.Linear(64, 2),
        )

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        return self.layers(
            torch.cat([x, t.expand(len(x))[:, None], self.embedding(label)], dim=1)
        )


# %%
# The loop is that of flow_matching's examples, but for where ``x_0`` comes from.

torch.manual_seed(0)
network, path = Network(), CondOTProbPath()
optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
for _ in range(800):
    rows = torch.randint(len(x), (256,))
    x_1, label = x[rows], labels[rows]
    x_0 = coupling.draw(prior, x_1, label)  # in place of torch.randn_like(x_1)
    sample = path.sample(t=torch.rand(len(x_1)), x_0=x_0, x_1=x_1)
    loss = (network(sample.x_t, sample.t, label) - sample.dx_t).pow(2).mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


# %%
# Its solver starts from source samples of ours. Two steps of the midpoint method
# are four evaluations of the network. The same start and the same method in
# flowprior lead to the same points; beside step sizes, flowprior can be asked for a
# number of evaluations.


class Wrapped(ModelWrapper):
    def forward(self, x: Tensor, t: Tensor, **extras: Tensor) -> Tensor:
        return self.model(x, t, extras["label"])


asked = torch.arange(8).repeat_interleave(50)
x_init = coupling.source(prior, asked, generator=torch.Generator().manual_seed(1))
theirs = ODESolver(velocity_model=Wrapped(network)).sample(
    x_init=x_init, method="midpoint", step_size=0.5, label=asked
)
assert isinstance(theirs, Tensor)  # and no list, as with return_intermediates

flow = Flow(network, prior, coupling, Path.create("condot"), modes.condition)
ours = flow.solve(
    asked, nfe=4, sampler="midpoint", generator=torch.Generator().manual_seed(1)
)
difference = (ours.x - theirs).abs().max()
print(f"{ours.nfe} evaluations, largest difference {difference:.1e}")

# %%
# Where the flow starts, and where it ends:

figure = beside(
    {
        "source samples": (x_init, asked),
        "samples of flow_matching's solver": (theirs, asked),
    },
    title="Eight modes, four evaluations",
)
figure
