"""
Restoring images
================

The condition is an image of four by four pixels, and the flow draws the eight by
eight that it was made of. Most of that follows from the condition, so the prior has
most to give here: a mean and a standard deviation for each pixel.
"""

import torch

from flowprior import evaluate, train
from flowprior.data import load_data
from flowprior.pictures import beside

low = "restoration:of=digits,task=super-resolution,factor=2"
digits, test = load_data(low), load_data(low, split="test")
print(digits.event_shape, "from", digits.condition.shape)

# %%
# Both flows have the same network and budget; what the fit of the learned mean
# costs comes on top. CRPS scores several samples of one condition against the
# truth; lower is better. 0 evaluations are the prior alone.

SETTINGS = {
    "N(0, I)": ("gaussian", "condot"),
    "learned mean": (
        "learned-mean:covariance=diagonal,mapper=mlp,steps=300",
        "condot",
    ),
}
flows = {}
for name, (prior, coupling) in SETTINGS.items():
    flows[name] = train(
        digits,
        prior=prior,
        coupling=coupling,
        model="mlp",
        batch_size=128,
        steps=400,
        seed=0,
    )
    result = evaluate(
        flows[name],
        digits,
        reference=test,
        nfe=(0, 1, 4),
        samples=800,
        members=4,
        metrics=("crps", "psnr"),
    )
    for nfe in (0, 1, 4):
        crps, psnr = result.value("crps", nfe), result.value("psnr", nfe)
        print(f"{name:13} {nfe}: CRPS {crps:.4f}  PSNR {psnr:.1f} dB")

# %%
# Held-out digits: what was given, three restorations by each flow with four
# evaluations, and the truth.

truth, given = test.batch(torch.arange(8))
assert isinstance(given, torch.Tensor)
rows = torch.arange(8)
many, places = given.repeat_interleave(3, 0), rows.repeat_interleave(3)
panels = {"given": (torch.nn.functional.interpolate(given, scale_factor=2), rows)}
for name, flow in flows.items():
    panels[f"from {name}"] = (
        flow.sample(many, nfe=4, generator=torch.Generator().manual_seed(1)),
        places,
    )
panels["truth"] = (truth, rows)
figure = beside(panels, names=[""] * 8, title="Digits from sixteen pixels")
figure
