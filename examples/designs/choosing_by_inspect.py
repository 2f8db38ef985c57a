"""
Choosing before any training
============================

``inspect`` fits priors, simulates what a flow with each pairing could do, and ranks
them, in seconds and without a network. This page asks it, and then trains a small
network under every pairing to see how far the order holds.
"""

import torch
from matplotlib.figure import Figure

from flowprior import train
from flowprior.data import load_data
from flowprior.inspection import inspect_priors
from flowprior.metrics import wasserstein2_per_condition

# %%
# A score below another's says that the pairing should need fewer evaluations.
# :doc:`/inspect` has what it is made of.

moons, test = load_data("moons:n=1000"), load_data("moons:n=1000", split="test")
found = inspect_priors(
    moons,
    ["gaussian", "gmm", "gmm:components=4"],
    ["condot", "ot"],
    examples=600,
)
for pairing in found.pairings:
    print(f"{pairing.prior:18} {pairing.coupling:7} score {pairing.score:.3f}")

# %%
# The same pairings, each with the same network, data order and budget. W2² to
# held-out points with two evaluations:

real, labels = test.batch(torch.arange(200))
distances = []
for pairing in found.pairings:
    flow = train(
        moons,
        prior=pairing.prior,
        coupling=pairing.coupling,
        model="mlp:width=64",
        batch_size=128,
        steps=400,
        seed=0,
    )
    samples = flow.sample(labels, nfe=2, generator=torch.Generator().manual_seed(1))
    parts = wasserstein2_per_condition(samples, labels, real, labels)
    distances.append(sum(parts.values()) / len(parts))
    print(f"{pairing.prior:18} {pairing.coupling:7} W2² {distances[-1]:.3f}")

# %%
# Both beside each other. One data set and one seed prove little; the page
# :doc:`/results` has the comparison on many trained flows.

names = [f"{pairing.prior} + {pairing.coupling}" for pairing in found.pairings]
figure = Figure(figsize=(8, 3), layout="constrained")
before, after = figure.subplots(1, 2, sharey=True)
before.barh(names, [pairing.score for pairing in found.pairings], color="C0")
after.barh(names, distances, color="C1")
before.set(xlabel="score, before any training")
after.set(xlabel="W2² of two evaluations, after training")
before.invert_yaxis()
figure
