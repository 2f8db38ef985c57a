"""
What a coupling does
====================

All couplings of this page draw their source samples from one prior. They differ in
which sample belongs to which datum, and that decides how far the pairs cross.
"""

import torch
from matplotlib.figure import Figure

from flowprior import Coupling, Prior
from flowprior.couplings import source_mismatch, transport_cost
from flowprior.data import load_data

moons = load_data("moons:n=2000")
x1, labels = moons.batch(torch.arange(512))
assert isinstance(labels, torch.Tensor)
prior = Prior.create("gmm", components=4, covariance="full")
prior.fit(moons.batches(), generator=torch.Generator().manual_seed(0))

# %%
# ``independent`` knows nothing of the condition, ``condot`` draws for the datum's
# own condition, ``ot`` pairs within the condition by optimal transport, and
# ``posterior`` infers the prior's component from the datum.
#
# The transport cost is E‖x1 − x0‖² of the pairs. The source mismatch compares
# source samples of training and of sampling: if the p-value is small, their
# distributions differ, and a network learns from samples that it will not see.

pairs = {}
for name in ("independent", "condot", "ot", "posterior"):
    coupling = Coupling.create(name)
    x0 = coupling.draw(
        prior, x1, labels, generator=torch.Generator().manual_seed(0)
    )
    mismatch = source_mismatch(
        coupling, prior, x1, labels, generator=torch.Generator().manual_seed(0)
    )
    pairs[name] = x0
    cost, apart, p = transport_cost(x0, x1), mismatch.coefficient, mismatch.p_value
    print(f"{name:12} cost {cost:5.2f}  mismatch {apart:.4f} (p = {p:.2f})")

# %%
# A line for each of the first 150 pairs, from its source sample (a ring) to its
# datum, in the colour of the datum's label:

figure = Figure(figsize=(8, 5.5), layout="constrained")
for axes, (name, x0) in zip(
    figure.subplots(2, 2, sharex=True, sharey=True).flat, pairs.items(), strict=True
):
    for start, end, label in zip(
        x0[:150], x1[:150], labels[:150].tolist(), strict=True
    ):
        axes.plot(*torch.stack([start, end]).T, color=f"C{label}", linewidth=0.6)
    axes.scatter(
        *x0[:150].T, s=12, facecolors="none", edgecolors="0.3", linewidths=0.6
    )
    axes.set_title(f"{name}: cost {transport_cost(x0, x1):.2f}", fontsize=10)
figure
