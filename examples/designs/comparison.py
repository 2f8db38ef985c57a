"""
A comparison of designs
=======================

Three designs on the same data, with the same network, budget and seed, measured by
one evaluator at several numbers of evaluations. :doc:`/compare` does the same over
grids, seeds and processes, and can be taken up again.
"""

import torch
from matplotlib.figure import Figure

from flowprior import evaluate, train
from flowprior.data import load_data
from flowprior.pictures import beside

modes = load_data("eight-modes:n=2000")
test = load_data("eight-modes:n=2000", split="test")
DESIGNS = {
    "gaussian + condot": ("gaussian", "condot"),
    "gaussian + ot": ("gaussian", "ot"),
    "gmm + ot": ("gmm:covariance=spherical", "ot"),
}
NFE = (0, 1, 2, 4, 8)

# %%
# An evaluation asks for numbers of evaluations, never steps. 0 is the prior alone,
# so that the table shows what the flow adds to its start. The last row is the score
# of real training points in place of samples.

flows, curves, results = {}, {}, []
for name, (prior, coupling) in DESIGNS.items():
    flows[name] = train(
        modes,
        prior=prior,
        coupling=coupling,
        model="mlp:width=64",
        batch_size=128,
        steps=400,
        seed=0,
    )
    result = evaluate(
        flows[name], modes, reference=test, nfe=NFE, samples=800, metrics="w2"
    )
    results.append(result)
    curves[name] = [result.value("w2_squared", nfe) for nfe in NFE]
    print(f"{name:18}", *(f"{value:8.3f}" for value in curves[name]))
real = results[0].real_data_score("w2_squared") or 0.0
print(f"{'real data':18} {real:8.3f}")

# %%
# Such curves are what to compare designs by: all of them, not one number of
# evaluations.

figure = Figure(figsize=(7, 4), layout="constrained")
axes = figure.subplots()
for name, values in curves.items():
    axes.plot(NFE, values, marker="o", label=name)
axes.axhline(real, color="grey", linestyle=":", label="real data")
axes.set(
    xlabel="evaluations of the network",
    ylabel="W2², mean over eight classes",
    yscale="log",
)
axes.legend(frameon=False)
figure

# %%
# The samples of each with two evaluations, from the same generator:

labels = torch.arange(8).repeat_interleave(60)
panels = {}
for name, flow in flows.items():
    samples = flow.sample(labels, nfe=2, generator=torch.Generator().manual_seed(1))
    panels[name] = (samples, labels)
scatter = beside(
    panels,
    real=test.batch(torch.arange(600))[0],
    title="Two evaluations, held-out points in grey",
)
scatter
