"""
The training loop of torchcfm, with a designed prior
====================================================

The loop of this page is torchcfm's own: its network, its matcher, its loss. One
line differs from its examples, the one that draws the source samples.
:doc:`/from-torchcfm` maps the rest of torchcfm.
"""
# sphinx_gallery_needs = "torchcfm"

import torch
from torchcfm.conditional_flow_matching import ConditionalFlowMatcher
from torchcfm.models import MLP

from flowprior import Coupling, Flow, Path, Prior
from flowprior.data import load_data
from flowprior.metrics import wasserstein2_per_condition
from flowprior.pictures import beside

# %%
# The data are two moons, each with a label. The designed prior is a mixture of four
# Gaussians for each moon, and the coupling pairs its samples with the data by
# optimal transport within each moon. Beside it stands what is usual: one N(0, I)
# for both, paired at random.

moons, held_out = load_data("moons:n=2000"), load_data("moons:n=2000", split="test")
x, cond = moons.batch(torch.arange(len(moons)))
assert isinstance(cond, torch.Tensor)
labels = cond

designs = {
    "N(0, I) + condot": (Prior.create("gaussian"), Coupling.create("condot")),
    "gmm + ot": (Prior.create("gmm", components=4), Coupling.create("ot")),
}
for prior, _ in designs.values():
    prior.fit(moons.batches(), generator=torch.Generator().manual_seed(0))


# %%
# torchcfm's network has no argument for a label, so it is given one as a third
# coordinate. In torchcfm's examples the marked line reads ``x0 =
# torch.randn_like(x1)``.


def learn(prior: Prior, coupling: Coupling) -> MLP:
    torch.manual_seed(0)
    network = MLP(dim=3, out_dim=2, time_varying=True)
    matcher = ConditionalFlowMatcher(sigma=0.0)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(1000):
        rows = torch.randint(len(x), (256,))
        x1, y = x[rows], labels[rows]
        x0 = coupling.draw(prior, x1, y)  # the line that is ours
        t, xt, ut = matcher.sample_location_and_conditional_flow(x0, x1)[:3]
        vt = network(torch.cat([xt, y[:, None], t[:, None]], dim=1))
        loss = ((vt - ut) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network


# %%
# A :class:`~flowprior.Flow` takes any function v(x, t, cond), and so the trained
# networks, too. (To save it, make the function a ``torch.nn.Module`` that holds the
# network: the weights behind a function are not saved.) It draws where the coupling
# says that sampling starts, and counts evaluations. W2² is the squared
# 2-Wasserstein distance to points that no training saw, the mean over both moons.

real, asked = held_out.batch(torch.arange(400))
panels = {}
for name, (prior, coupling) in designs.items():
    network = learn(prior, coupling)

    def velocity(x, t, y, network=network):
        return network(torch.cat([x, y[:, None], t[:, None]], dim=1))

    flow = Flow(velocity, prior, coupling, Path.create("condot"), moons.condition)
    samples = flow.sample(asked, nfe=2, generator=torch.Generator().manual_seed(1))
    distances = wasserstein2_per_condition(samples, asked, real, asked)
    heading = f"{name}: W2² = {sum(distances.values()) / len(distances):.3f}"
    panels[heading] = (samples, asked)
    print(heading)

title = "Two moons, two evaluations of the network, held-out points in grey"
figure = beside(panels, real=real, title=title)
figure
