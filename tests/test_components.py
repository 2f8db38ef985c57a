"""One contract over everything that is registered: a new component is tested by being registered."""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import inspect
import io
import json
import re
from typing import Any

import pytest
import torch
from torch import Tensor

from flowprior.couplings import Coupling
from flowprior.errors import InputError, NotFittedError, OptionError
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.registry import Registered
from flowprior.samplers import Sampler
from flowprior.samplers.base import AveragedVelocity
from tests.given_mean import give_mean, prior_of

FAMILIES: tuple[type[Registered], ...] = (Prior, Coupling, Path, Sampler)
COMPONENTS = [(family, name) for family in FAMILIES for name in family.available()]

QUICK = {
    "learned-mean": {"epochs": 1, "hidden": 8, "depth": 1},
    "empirical": {"keep": True},
    "flow": {"steps": 5, "hidden": 16, "transforms": 2},
    "vae": {"latent": 3, "width": 4, "steps": 10, "importance": 16},
}
VARIANTS = {
    "gaussian": [{"moments": "scalar"}, {"moments": "diagonal"}],
    "gmm": [
        {"components": 2},
        *({"covariance": name, "rank": 2} for name in ("spherical", "full", "tied", "lowrank")),
        {"covariance": "lowrank", "rank": 2, "components": 2},
    ],
    "learned-mean": [
        {"sigma": "diagonal"},
        {"sigma": "ou"},
        {"sigma": "lowrank", "rank": 2},
        {"covariance": "diagonal", "steps": 20},
        {"covariance": "lowrank", "rank": 2, "components": 2, "steps": 20},
    ],
    "flow": [{"rank": 2}, {"kind": "spline"}],
    "around": [{"sigma": "diagonal"}, {"sigma": "lowrank", "rank": 2}, {"sigma": "matern"}],
    "gp": [{"kernels": "spectrum"}],
    "kernel-mean": [{"sigma": 0.7}, {"sigma": "diagonal"}, {"sigma": "lowrank"}, {"sigma": "ou"}],
    "latent-gmm": [{"law": "averaged-gmm"}, {"basis": "shared", "rank": 2}],
}
PRIORS = [
    (name, {**QUICK.get(name, {}), **options})
    for name in Prior.available()
    for options in ({}, *VARIANTS.get(name, []))
]
EVENT = (3, 2)


def data(dtype: torch.dtype = torch.float32, count: int = 60) -> tuple[Tensor, Tensor]:
    """Labelled events of shape ``EVENT``."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    x = torch.randn(count, *EVENT, generator=generator) + labels[:, None, None]
    return x.to(dtype), labels


def fitted(spec: tuple[str, dict[str, Any]], dtype: torch.dtype = torch.float32) -> Prior:
    """A copy of the prior fitted to ``data(dtype)``: each spec is fitted once a dtype."""
    return copy.deepcopy(_fitted_once(spec[0], json.dumps(spec[1]), dtype))


@functools.cache
def _fitted_once(name: str, options: str, dtype: torch.dtype) -> Prior:
    return fit_anew((name, json.loads(options)), dtype)


def fit_anew(spec: tuple[str, dict[str, Any]], dtype: torch.dtype = torch.float32) -> Prior:
    return prior_of(spec[0], EVENT, **spec[1]).fit(data(dtype), generator=torch.Generator().manual_seed(0))


def densities(prior: Prior, x: Tensor, labels: Tensor) -> Tensor:
    """Log-densities given the labels and of the marginal, ``[2, B]``; means of a prior that has none."""
    if not prior.has_density:
        return prior.mean(labels).flatten(1).sum(1).expand(2, -1)
    return torch.stack([prior.log_prob(x, labels), prior.log_prob_marginal(x)])


def name_of(value: Any) -> str:
    if isinstance(value, tuple) and isinstance(value[0], type):
        return f"{value[0].__name__}-{value[1]}"
    if isinstance(value, tuple) and isinstance(value[0], str):
        return "-".join([value[0], *(str(option) for option in value[1].values())])
    return str(value).removeprefix("torch.")


every_component = pytest.mark.parametrize("component", COMPONENTS, ids=name_of)
every_prior = pytest.mark.parametrize("spec", PRIORS, ids=name_of)
both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=name_of)


# -- every component of every family ------------------------------------------------------------


@every_component
def test_a_component_describes_itself_in_one_line_of_its_own(component):
    family, name = component
    record = family.record(name)
    assert "__doc__" in vars(record.factory), "not the docstring it inherits"
    assert 20 <= len(record.description) <= 110
    assert record.description[0].isupper() or record.description[0] in "xN"
    assert record.description.endswith(".")
    assert record.description == inspect.getdoc(record.factory).split("\n")[0]


@every_component
def test_every_option_is_documented_and_has_a_default(component):
    family, name = component
    record = family.record(name)
    documented = "\n".join(inspect.getdoc(cls) or "" for cls in record.factory.__mro__)
    for option, default in record.options.items():
        assert default is not inspect.Parameter.empty, f"{option} has no default"
        assert re.search(rf"^\s*{option}: \S", documented, re.MULTILINE), f"{option} is not documented"


@every_component
def test_a_component_is_made_by_name_alias_and_spec_with_its_defaults(component):
    family, name = component
    record = family.record(name)
    made = family.create(name)
    assert isinstance(made, family)
    assert isinstance(family.registry.resolve(name), record.factory)
    assert isinstance(family.create(name, **record.options), record.factory)
    for alias in record.aliases:
        assert type(family.create(alias)) is type(made)
    assert not record.option_aliases.keys() & record.options.keys()
    assert set(record.option_aliases.values()) <= record.options.keys()
    with pytest.raises(OptionError, match=f"'{name}' has no option 'nonsense'"):
        family.create(name, nonsense=1)


@every_component
def test_repr_says_class_family_and_name_and_no_option_that_is_a_default(component):
    family, name = component
    made = family.create(name)
    known = f"{type(made).__name__}(): {family.registry.family} '{name}'"
    assert repr(made).startswith(known)
    assert "\n" not in repr(made)
    assert len(repr(made)) < 200


@every_component
def test_repr_says_options_that_are_no_defaults_as_they_are_given(component):
    family, name = component
    shared = {Prior: {"reads": "genre"}, Sampler: {"temperature": 0.5}}.get(family, {})
    own = {option: value for option, value in family.record(name).options.items() if option not in shared}
    changed = next((other for other in _other_options(own) if _can_be_made(family, name, other)), {})
    given = {**changed, **shared}
    shown = repr(family.create(name, **given))
    assert all(f"{option}={value!r}" in shown for option, value in given.items())
    assert shown[: shown.index("): ")].count("=") == len(given)


def _other_options(options: dict[str, Any]) -> list[dict[str, Any]]:
    """One option each with a value that is not its default."""
    truths = [{option: not value} for option, value in options.items() if isinstance(value, bool)]
    whole = [{option: value + 1} for option, value in options.items() if type(value) is int]
    return truths + whole + [{o: value / 2} for o, value in options.items() if type(value) is float and value]


def _can_be_made(family: type[Registered], name: str, options: dict[str, Any]) -> bool:
    with contextlib.suppress(OptionError):
        return bool(family.create(name, **options))
    return False


# -- priors -------------------------------------------------------------------------------------


@every_prior
@both_dtypes
def test_shapes_and_dtypes(spec, dtype, generator):
    x, labels = data(dtype)
    prior = fitted(spec, dtype)
    assert prior.event_shape == EVENT
    cond = labels[:7]
    for events in (
        prior.sample(cond, generator=generator),
        prior.mean(cond),
        prior.sample_marginal(7, generator=generator),
        prior.infer(x[:7], cond, generator=generator) if prior.has_latents else prior.sample(cond),
    ):
        assert events.shape == (7, *EVENT)
        assert events.dtype == dtype
        assert events.isfinite().all()
        assert not events.requires_grad
    for found in densities(prior, x, labels):
        assert found.shape == (60,)
        assert found.dtype == dtype
        assert found.isfinite().all()


@every_prior
def test_no_rows_give_no_samples(spec):
    prior = fitted(spec)
    none = torch.zeros(0, dtype=torch.long)
    assert prior.sample(none).shape == (0, *EVENT)
    assert prior.sample_marginal(0).shape == (0, *EVENT)
    assert densities(prior, torch.zeros(0, *EVENT), none)[0].shape == (0,)
    assert prior.mean(none).shape == (0, *EVENT)


@every_prior
@both_dtypes
def test_samples_average_to_the_mean(spec, dtype, generator):
    prior = fitted(spec, dtype)
    n = 4000
    x0 = prior.sample(torch.full((n,), 2), generator=generator)
    error = 5 * x0.std(0) / n**0.5
    assert ((x0.mean(0) - prior.mean(torch.tensor([2]))[0]).abs() < error).all(), "five standard errors"


@every_prior
def test_densities_are_those_of_the_samples(spec, generator):
    """E[p(x0 + δ)/p(x0)] = 1 under x0 ~ p, for a small shift δ."""
    prior = fitted(spec, torch.float64)
    if not prior.has_density:
        with pytest.raises(InputError, match="no density"):
            prior.log_prob(*data(torch.float64))
        return
    cond = torch.full((20_000,), 1)
    x0 = prior.sample(cond, generator=generator)
    ratio = (prior.log_prob(x0 + 0.05 * x0.std(0), cond) - prior.log_prob(x0, cond)).exp()
    assert abs(ratio.mean().item() - 1) < 5 * ratio.std().item() / len(ratio) ** 0.5


@every_prior
def test_draws_come_from_the_generator_alone(spec):
    prior = fitted(spec)
    x, labels = data()
    draws = []
    for seed in (1, 1, 2):
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(len(draws))
        state = torch.get_rng_state()
        parts = [prior.sample(labels, generator=generator), prior.sample_marginal(5, generator=generator)]
        if prior.has_latents:
            parts.append(prior.infer(x, labels, generator=generator))
        draws.append(torch.cat(parts))
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@every_prior
def test_a_fit_comes_from_the_generator_alone(spec):
    states = []
    for seed in (3, 4):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        states.append(fit_anew(spec).state_dict())
        assert torch.equal(torch.get_rng_state(), before)
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


@every_prior
@both_dtypes
def test_state_travels_through_a_file_into_an_unfitted_prior(spec, dtype):
    prior = fitted(spec, dtype)
    file = io.BytesIO()
    torch.save(prior.state_dict(), file)
    file.seek(0)
    other = prior_of(spec[0], EVENT, **spec[1])
    other.load_state_dict(torch.load(file, weights_only=True))
    x, labels = data(dtype)
    assert other.event_shape == EVENT
    assert torch.equal(densities(other, x, labels), densities(prior, x, labels))
    assert torch.equal(other.mean(labels), prior.mean(labels))
    draws = [p.sample(labels, generator=torch.Generator().manual_seed(0)) for p in (prior, other)]
    assert torch.equal(*draws)


@every_prior
def test_all_that_was_learned_is_in_the_state(spec):
    """A tensor kept outside parameters and buffers would be lost by checkpoints and by ``.to()``."""
    prior = fitted(spec)
    for module in prior.modules():
        loose = [name for name, value in vars(module).items() if isinstance(value, Tensor)]
        assert not loose
    assert not any(parameter.requires_grad for parameter in prior.parameters()), "optimisers leave it alone"


@every_prior
def test_a_prior_moves_to_another_dtype_and_back(spec):
    prior = fitted(spec)
    x, labels = data()
    single = densities(prior, x, labels)
    double = densities(prior.to(torch.float64), x.double(), labels)
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)
    assert prior.sample(labels).dtype == torch.float64
    if prior.has_latents:
        assert prior.infer(x.double(), labels).dtype == torch.float64
    assert torch.equal(densities(prior.to(torch.float32), x, labels), single)


@every_prior
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=name_of)
def test_half_precision_events_are_looked_at_in_float32(spec, half):
    prior = fitted(spec)
    x, labels = data()
    x = x.to(half)
    assert torch.equal(densities(prior, x, labels), densities(prior, x.float(), labels))
    if prior.has_latents:
        assert prior.infer(x, labels).dtype == torch.float32


@every_prior
def test_a_deep_copy_is_equal_and_apart(spec):
    prior = fitted(spec)
    x, labels = data()
    other = copy.deepcopy(prior)
    expected = densities(prior, x, labels)
    assert torch.equal(densities(other, x, labels), expected)
    with torch.no_grad():
        for value in other.state_dict().values():
            if value.is_floating_point():
                value.add_(1)
    assert torch.equal(densities(prior, x, labels), expected)


@every_prior
def test_use_before_fit_says_what_to_call(spec):
    prior = prior_of(spec[0], EVENT, **spec[1])
    x, labels = data()
    assert not prior.is_fitted
    calls = {
        "sample": lambda: prior.sample(labels),
        "log_prob": lambda: prior.log_prob(x, labels),
        "mean": lambda: prior.mean(labels),
        "sample_marginal": lambda: prior.sample_marginal(3),
        "log_prob_marginal": lambda: prior.log_prob_marginal(x),
        "event_shape": lambda: prior.event_shape,
    }
    if prior.has_latents:
        calls["infer"] = lambda: prior.infer(x, labels)
    for method, call in calls.items():
        with pytest.raises(NotFittedError) as caught:
            call()
        assert str(caught.value) == (
            f"{spec[0]}.{method}: the prior is not fitted; call prior.fit(data) first"
        )


@every_prior
def test_repr_before_and_after_fit_names_the_class(spec):
    prior = prior_of(spec[0], EVENT, **spec[1])
    assert repr(prior).startswith(f"{type(prior).__name__}(")
    assert repr(prior).endswith(f"): prior '{spec[0]}', not fitted")


@every_prior
def test_repr_of_a_fitted_prior_says_what_it_was_fitted_to_and_how_large_it_is(spec, tmp_path):
    prior = fitted(spec)
    numbers = sum(value.numel() for value in prior.state_dict().values())
    assert re.search(
        r"fitted to (60 )?examples of shape \[3, 2\] with(out a condition| labels 0\.\.2)", repr(prior)
    )
    assert repr(prior).endswith(f", {numbers:,} numbers")
    assert repr(copy.deepcopy(prior)) == repr(prior)
    prior.save(tmp_path / "prior")
    blank = prior_of(spec[0], EVENT, **spec[1]) if spec[0] == "around" else None
    assert repr(Prior.load(tmp_path / "prior", prior=blank)) == repr(prior)


@every_prior
def test_fit_returns_the_prior_and_may_be_called_again(spec):
    prior = prior_of(spec[0], EVENT, **spec[1])
    assert prior.fit(data()) is prior
    give_mean(prior, (2,))
    prior.fit((data()[0].flatten(1)[:, :2], data()[1]))
    assert prior.event_shape == (2,)
    assert prior.sample(torch.tensor([1])).shape == (1, 2)


@every_prior
def test_events_of_another_shape_or_dtype_are_refused(spec):
    prior = fitted(spec)
    labels = torch.zeros(4, dtype=torch.long)
    for x in (
        torch.zeros(4, 6),
        torch.zeros(4, 2, 3),
        torch.zeros(4, *EVENT, dtype=torch.long),
        torch.zeros(4),
    ):
        for method in ("log_prob", "infer") if prior.has_latents else ("log_prob",):
            message = rf"^{spec[0]}\.{method}: expected floating-point x of shape \[B, 3, 2\], got "
            with pytest.raises(InputError, match=message):
                getattr(prior, method)(x, labels)


@every_prior
def test_rows_and_conditions_of_different_number_are_refused(spec):
    prior = fitted(spec)
    with pytest.raises(InputError, match="cond has 2 rows but n=3; pass one of them"):
        prior.sample(torch.tensor([0, 1]), 3)
    with pytest.raises(InputError, match="expected cond or n, got neither"):
        prior.sample()
    with pytest.raises(InputError, match="expected n >= 0, got -1"):
        prior.sample(n=-1)
    x, labels = data()
    for method in ("log_prob", "infer") if prior.has_latents else ("log_prob",):
        with pytest.raises(InputError, match=r"x has 60 rows but cond has shape \[5\]"):
            getattr(prior, method)(x, labels[:5])


class Streamed:
    """Batches made when asked for; after each pass, the bytes of all tensors alive and not frozen."""

    def __init__(self, batches: int) -> None:
        self.batches = batches
        self.alive: list[int] = []

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        for _ in range(self.batches):
            yield torch.randn(500, 40, generator=generator), torch.arange(500) % 2
        storages = {}
        for thing in gc.get_objects():
            if type(thing) is Tensor or type(thing) is torch.nn.Parameter:
                storage = thing.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
        self.alive.append(sum(storages.values()))


@every_prior
def test_memory_does_not_grow_with_the_number_of_examples(spec):
    peaks = []
    gc.freeze()  # what lives already is not looked at: a hundred times faster
    own = {"steps": 2} if "steps" in spec[1] else {"rank": 2} if spec[0] == "latent-gmm" else {}
    for batches in (4, 24):
        streamed = Streamed(batches)
        prior = prior_of(spec[0], (40,), **(spec[1] | own))
        prior.max_iter = 3
        gc.collect()  # what the fit before left in cycles is not of this one
        prior.fit(streamed, generator=torch.Generator().manual_seed(0))
        peaks.append(max(streamed.alive, default=0))
    more_data = 20 * 500 * 40 * 4
    assert prior.kept_data or peaks[1] - peaks[0] < 0.05 * more_data


# -- samplers and paths ---------------------------------------------------------------------------


DETERMINISTIC = [name for name in Sampler.available() if not Sampler.create(name).stochastic]
"""Samplers without noise of their own; the laws of the others are tested in samplers/test_diffusion.py."""


@pytest.mark.parametrize("name", DETERMINISTIC)
@both_dtypes
def test_samplers_integrate_a_constant_velocity_exactly(name, dtype):
    x0 = torch.arange(6.0).view(3, 2).to(dtype)
    seen = []

    def velocity(x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        seen.append((t, cond))
        assert t.shape == (3,)
        assert t.dtype == dtype
        return torch.full_like(x, 2.0)

    averaged = AveragedVelocity(velocity, lambda x, begin, end, cond: velocity(x, begin, cond))
    sampler = Sampler.create(name).prepare(Path.create("condot"))
    solution = sampler.solve(averaged, x0, torch.tensor([0, 1, 2]))
    torch.testing.assert_close(solution.x, x0 + 2)
    assert solution.nfe == len(seen)
    assert all(0 <= float(t.min()) <= float(t.max()) <= 1 for t, _ in seen)
    assert all(cond.tolist() == [0, 1, 2] for _, cond in seen)


@pytest.mark.parametrize("name", Path.available())
@both_dtypes
def test_paths_lead_from_the_start_to_the_datum(name, dtype, generator):
    x0, x1 = torch.randn(2, 5, *EVENT, generator=generator).to(dtype)
    path = Path.create(name)
    for t, end in ((0.0, x0), (1.0, x1)):
        sample = path.interpolate(x0, x1, torch.full((5,), t, dtype=dtype))
        assert sample.x_t.shape == sample.u_t.shape == x1.shape
        assert sample.x_t.dtype == sample.u_t.dtype == dtype
        torch.testing.assert_close(sample.x_t, end, rtol=0.01, atol=0.02)
        assert sample.u_t.isfinite().all()
