"""
Single cells
============

700 blood cells of ten types, each fifty principal components of its gene counts
(from the wheel of scanpy). Some types have a hundred cells, some a dozen or fewer,
so the prior has to share what it learns between them. :doc:`/own-cells` does the
same with a file of your own, from the command line.
"""
# sphinx_gallery_needs = "scanpy, anndata"

import torch

from flowprior import train
from flowprior.data import load_data
from flowprior.metrics import sliced_wasserstein2_squared
from flowprior.pictures import beside

cells, test = load_data("cells"), load_data("cells", split="test")
x, labels = cells.batch(torch.arange(len(cells)))
assert isinstance(labels, torch.Tensor)
for number, name in enumerate(cells.class_names or []):
    print(f"{int((labels == number).sum()):4d} cells of type {name}")

# %%
# ``shrinkage`` draws each type's moments to those of all cells together, the more
# the fewer cells it has. Both flows have the same network, budget and seed; cells
# are drawn in the proportions of the held-out ones.

real, asked = test.batch(torch.arange(len(test)))
assert isinstance(asked, torch.Tensor)
many = asked.repeat(4)
samples = {}
for prior, coupling in (("gaussian", "condot"), ("gmm:shrinkage=2", "ot")):
    flow = train(
        cells,
        prior=prior,
        coupling=coupling,
        model="mlp:width=64",
        batch_size=128,
        steps=600,
        seed=0,
    )
    name = f"{prior} + {coupling}"
    samples[name] = flow.sample(
        many, nfe=4, generator=torch.Generator().manual_seed(1)
    )
    distance = sliced_wasserstein2_squared(samples[name], real)
    print(f"{name:22} sliced W2² to held-out cells {distance:.4f}")

# %%
# The first two principal components, training cells at the left:

panels = {"cells": (x[:, :2], labels)}
panels |= {name: (drawn[:, :2], many) for name, drawn in samples.items()}
figure = beside(
    panels,
    names=cells.class_names,
    title="Blood cells, and samples with four evaluations",
)
figure
