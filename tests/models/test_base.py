"""Building a model by name for the data at hand."""

from __future__ import annotations

import copy
import re

import pytest
import torch

from flowprior.conditions import Condition, Parts, TokenStates
from flowprior.conditions.rows import rows
from flowprior.errors import InputError, OptionError, UnknownComponentError
from flowprior.models import MLP, UNet, build_model
from flowprior.models.base import MODELS, in_precision, model_options, parse_widths

CONDITIONS = [Condition(), Condition("labels", 3), Condition("embeddings", 5), Condition("tokens", 6)]
CONDITIONS += [Condition("parts", parts=tuple(zip("abc", CONDITIONS[1:], strict=True)))]
SMALL = {
    "mlp": "mlp:width=16,depth=2",
    "unet": "unet:widths=16-32",
    "dit": "dit:patch=2,width=16,depth=2,heads=2",
    "diffusers": "diffusers:widths=8-16",
}


def example(condition: Condition, event: tuple[int, ...], batch: int = 4):
    """A batch (x, t, cond) for ``condition``; the first two conditions differ."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, *event, generator=generator)
    t = torch.rand(batch, generator=generator)
    labels, embeddings = torch.arange(batch) % 3, torch.randn(batch, 5, generator=generator)
    mask = torch.arange(3) < (torch.arange(batch) % 3 + 1)[:, None]
    tokens = TokenStates(torch.randn(batch, 3, 6, generator=generator), mask)
    parts = Parts({"a": labels, "b": embeddings, "c": tokens})
    known = {"none": None, "labels": labels, "embeddings": embeddings, "tokens": tokens, "parts": parts}
    return x, t, known[condition.kind]


def build(name: str, condition: Condition, event: tuple[int, ...], inputs: int = 1) -> torch.nn.Module:
    """A small model of which every zero-initialised layer has been moved off zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = build_model(SMALL.get(name, name), torch.Size(event), condition, inputs)
        for parameter in model.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


every_model = pytest.mark.parametrize("name", MODELS.available())


def pairs(*kinds: str) -> pytest.MarkDecorator:
    """Every model with every condition of these kinds that it takes."""
    every = [
        pytest.param(name, condition, id=f"{name}-{condition.kind}")
        for name in MODELS.available()
        for condition in CONDITIONS
        if condition.kind in kinds and (name, condition.kind) != ("diffusers", "parts")
    ]
    return pytest.mark.parametrize(("name", "condition"), every)


every_pair = pairs("none", "labels", "embeddings", "tokens", "parts")


@every_pair
@pytest.mark.parametrize("event", [(1, 8, 8), (3, 7, 9)])
def test_velocity_has_the_shape_and_dtype_of_x_and_starts_at_zero(name, condition, event):
    x, t, cond = example(condition, event)
    velocity = build(name, condition, event)(x, t, cond)
    assert (velocity.shape, velocity.dtype, velocity.is_contiguous()) == (x.shape, x.dtype, True)
    assert not build_model(SMALL.get(name, name), x.shape[1:], condition)(x, t, cond).any()


@every_pair
def test_gradients_reach_every_parameter(name, condition):
    x, t, cond = example(condition, (1, 8, 8))
    model = build(name, condition, (1, 8, 8))
    model(x, t, cond).square().sum().backward()
    without = [key for key, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    # A softmax over diffusers' single token is 1 whatever its query and key are.
    assert [key for key in without if not re.search(r"attn2\.to_[qk]|transformer_blocks.*norm2", key)] == []
    assert without == [] or (name, condition.kind) == ("diffusers", "embeddings")


@every_pair
def test_time_condition_and_null_condition_change_the_velocity(name, condition):
    x, t, cond = example(condition, (1, 8, 8))
    model = build(name, condition, (1, 8, 8))
    others = [] if cond is None else [rows(cond, torch.arange(len(x)).roll(1)), condition.null(cond)]
    with torch.no_grad():
        velocity = model(x, t, cond)
        for found in (model(x, 1 - t, cond), *(model(x, t, other) for other in others)):
            assert found.isfinite().all()
            assert not torch.allclose(found, velocity, atol=1e-4)


@every_model
def test_events_of_a_batch_do_not_see_each_other_and_copies_compute_the_same(name):
    x, t, cond = example(CONDITIONS[1], (1, 8, 8))
    model = build(name, CONDITIONS[1], (1, 8, 8))
    with torch.no_grad():
        torch.testing.assert_close(model(x, t, cond)[:2], model(x[:2], t[:2], cond[:2]), atol=1e-5, rtol=1e-4)
        assert torch.equal(copy.deepcopy(model)(x, t, cond), model(x, t, cond))


@every_model
def test_autocast_gives_float32_close_to_full_precision(name):
    x, t, cond = example(CONDITIONS[1], (1, 8, 8))
    model = build(name, CONDITIONS[1], (1, 8, 8))
    with torch.no_grad():
        full = model(x, t, cond)
        with in_precision("float32", x.device):
            assert torch.equal(model(x, t, cond), full)
        with in_precision("bfloat16", x.device):
            mixed = model(x, t, cond)
    assert mixed.dtype == torch.float32
    assert 0 < (mixed - full).norm() < 0.05 * full.norm()


@pytest.mark.parametrize("name", ["mlp", "unet", "dit"])
def test_float64_models_compute_in_float64(name):
    x, t, cond = example(CONDITIONS[2], (1, 8, 8))
    velocity = build(name, CONDITIONS[2], (1, 8, 8)).double()(x.double(), t.double(), cond)
    assert velocity.dtype == torch.float64


@pairs("tokens", "parts")
def test_padding_of_token_states_changes_nothing(name, condition):
    x, t, cond = example(condition, (1, 8, 8))
    model = build(name, condition, (1, 8, 8))

    def told(filling: float, more: int = 0):
        tokens = cond["c"] if isinstance(cond, Parts) else cond
        tokens = tokens.padded(tokens.states.shape[1] + more)
        filled = TokenStates(tokens.states.masked_fill(~tokens.mask[..., None], filling), tokens.mask)
        return Parts({**dict(cond.items()), "c": filled}) if isinstance(cond, Parts) else filled

    with torch.no_grad():
        velocity = model(x, t, cond)
        for filling in (9.0, float("nan"), float("inf")):
            assert torch.equal(model(x, t, told(filling)), velocity)
        torch.testing.assert_close(model(x, t, told(1.0, more=4)), velocity, atol=1e-5, rtol=1e-4)


@every_model
def test_a_model_reads_the_parts_that_it_is_told_to(name):
    x, t, cond = example(CONDITIONS[-1], (1, 8, 8))
    spec = SMALL.get(name, name)
    separator = "," if ":" in spec else ":"
    for reads in ("a", "c", "a+b")[: 2 if name == "diffusers" else 3]:
        model = build(f"{spec}{separator}reads={reads}", CONDITIONS[-1], (1, 8, 8))
        with torch.no_grad():
            velocity = model(x, t, cond)
            for part in "abc":
                moved = Parts({**dict(cond.items()), part: rows(cond[part], torch.arange(len(x)).roll(1))})
                assert torch.allclose(model(x, t, moved), velocity, atol=1e-5) == (part not in reads)
        with pytest.raises(InputError, match="expected a condition with the parts"):
            model(x, t, cond["a"])


def test_auto_picks_by_the_shape_of_the_event():
    assert isinstance(build_model("auto", torch.Size([1, 8, 8]), Condition()), UNet)
    assert isinstance(build_model("auto:width=8", torch.Size([2, 3]), Condition()), MLP)
    assert model_options("mlp") == {"width": 256, "depth": 3, "reads": ""}


@pytest.mark.parametrize(
    ("spec", "event", "message"),
    [
        ("unte", (1, 8, 8), "did you mean 'unet'"),
        ("mlp:widht=3", (2,), "did you mean 'width'"),
        ("mlp:event_shape=3", (2,), "follows from the data"),
        ("mlp:reads=d", (2,), "model 'mlp': reads='d' names no part 'd'; there are a, b, c"),
        ("mlp:reads=a+d", (2,), r"reads='a\+d' names no part 'd'"),
        ("mlp:reads=3", (2,), "reads=3 is not possible; expected the name of a part"),
        ("mlp:width=0", (2,), "width=0"),
        ("mlp:depth=1.5", (2,), "depth=1.5"),
        ("unet:widths=64-x", (1, 8, 8), "widths='64-x'"),
        ("unet:widths=0-64", (1, 8, 8), "widths"),
        ("unet:blocks=0", (1, 8, 8), "blocks=0"),
        ("unet:widths=10-15", (1, 8, 8), "does not divide"),
        ("diffusers:blocks=0,reads=a", (1, 8, 8), "blocks=0"),
        ("unet", (2,), r"expected events \[C, H, W\], got \[2\]; use model mlp"),
        ("diffusers", (2,), r"expected events \[C, H, W\], got \[2\]; use model mlp"),
        (
            "dit:width=18,heads=3",
            (1, 8, 8),
            "width=18 is not possible; choose a multiple of 4",
        ),
        ("dit:width=16,heads=3", (1, 8, 8), "width=16 is not possible"),
        ("dit", (4,), r"expected events \[C, H, W\], got \[4\]"),
    ],
)
def test_impossible_models_are_refused(spec, event, message):
    with pytest.raises((OptionError, UnknownComponentError), match=message):
        build_model(spec, torch.Size(event), CONDITIONS[-1])


def test_widths_are_read_from_text_numbers_and_sequences():
    assert [parse_widths(given, "unet") for given in ("8-16", 8, [8, 16])] == [(8, 16), (8,), (8, 16)]
    for wrong in ("", "a-b", (), None, -1, "64--128"):
        with pytest.raises(OptionError, match="widths"):
            parse_widths(wrong, "unet")


@every_pair
def test_several_inputs_side_by_side_give_one_velocity(name, condition):
    x, t, cond = example(condition, (1, 8, 8))
    model = build(name, condition, (1, 8, 8), inputs=3)
    beside = torch.cat([x, x.flip(0), -x], dim=1)
    with torch.no_grad():
        velocity = model(beside, t, cond)
        assert velocity.shape == x.shape
        for which in range(3):
            changed = beside.clone()
            changed[:, which] += 1
            assert not torch.allclose(model(changed, t, cond), velocity, atol=1e-4)


def test_a_model_that_sees_the_event_alone_says_so(monkeypatch):
    monkeypatch.setattr(MODELS, "_records", dict(MODELS._records))
    MODELS.register("alone")(lambda event_shape, condition: torch.nn.Identity())
    assert isinstance(build_model("alone", torch.Size([2]), Condition()), torch.nn.Identity)
    with pytest.raises(OptionError, match=r"'alone' sees the event alone.*prediction 'residual'"):
        build_model("alone", torch.Size([2]), Condition(), inputs=3)


@pytest.mark.parametrize("event", [(2,), (5, 3), (2, 3, 4, 5)])
def test_the_mlp_flattens_events_of_any_shape(event):
    model = MLP(torch.Size(event), Condition(), width=8, depth=1)
    assert model(torch.randn(3, *event), torch.rand(3)).shape == (3, *event)
