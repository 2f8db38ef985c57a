"""
Samplers and their evaluations
==============================

What a sample costs is the number of times that the network is called, so that is
what flowprior asks for and counts. This page walks one trained flow by several
samplers at equal cost.
"""

import torch
from matplotlib.figure import Figure

from flowprior import train
from flowprior.data import load_data
from flowprior.errors import OptionError

modes = load_data("eight-modes:n=2000")
flow = train(
    modes,
    prior="gaussian",
    coupling="condot",
    model="mlp:width=64",
    batch_size=128,
    steps=600,
    seed=0,
)

# %%
# ``euler`` spends one evaluation a step, ``heun`` two and ``rk4`` four. A number
# that a sampler cannot spend is refused with the nearest ones, instead of being
# rounded:

labels = torch.arange(8).repeat_interleave(50)
try:
    flow.sample(labels, nfe=6, sampler="rk4")
except OptionError as error:
    print(error)

# %%
# The reference is a solution by ``dopri5``, which chooses its steps itself and says
# what it spent. All start from the same source samples.


def solved(sampler: str, nfe: int | None = None):
    return flow.solve(
        labels, nfe=nfe, sampler=sampler, generator=torch.Generator().manual_seed(1)
    )


exact = solved("dopri5:rtol=1e-5,atol=1e-5")
print(f"dopri5 spent {exact.nfe} evaluations")

SAMPLERS = ("euler", "euler:grid=cosine", "midpoint", "heun", "rk4")
errors = {name: {} for name in SAMPLERS}
for name in SAMPLERS:
    for nfe in (4, 8, 16, 32, 64):
        found = solved(name, nfe)
        errors[name][found.nfe] = float((found.x - exact.x).norm(dim=1).median())
    print(
        f"{name:18}",
        *(f"{nfe}: {error:.4f} " for nfe, error in errors[name].items()),
    )

# %%
# The median distance from the exact end of the trajectory. The order of a method
# shows only where the velocity is smooth within a step; that of a trained network
# is not, beyond some number of steps.

figure = Figure(figsize=(7, 4.4), layout="constrained")
axes = figure.subplots()
for name, values in errors.items():
    axes.loglog(list(values), list(values.values()), marker="o", label=name)
axes.set_xticks((4, 8, 16, 32, 64), ("4", "8", "16", "32", "64"))
axes.minorticks_off()
axes.set(
    xlabel="evaluations of the network", ylabel="distance from the exact solution"
)
axes.legend(frameon=False)
figure
