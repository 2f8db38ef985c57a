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
every_condition = pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: condition.kind)


@every_model
@every_condition
@pytest.mark.parametrize("event", [(1, 8, 8), (3, 7, 9)])
def test_velocity_has_the_shape_and_dtype_of_x(name, condition, event):
    x, t, cond = example(condition, event)
    velocity = build(name, condition, event)(x, t, cond)
    assert velocity.shape == x.shape
    assert velocity.dtype == x.dtype
    assert velocity.is_contiguous()


@every_model
@every_condition
def test_output_starts_at_zero(name, condition):
    x, t, cond = example(condition, (1, 8, 8))
    model = build_model(SMALL.get(name, name), x.shape[1:], condition)
    assert not model(x, t, cond).any()


@every_model
@every_condition
def test_gradients_reach_every_parameter(name, condition):
    x, t, cond = example(condition, (1, 8, 8))
    model = build(name, condition, (1, 8, 8))
    model(x, t, cond).square().sum().backward()
    without = [key for key, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    # A softmax over diffusers' single token is 1 whatever its query and key are.
    assert [key for key in without if not re.search(r"attn2\.to_[qk]|transformer_blocks.*norm2", key)] == []
    assert without == [] or (name, condition.kind) == ("diffusers", "embeddings")


@every_model
@every_condition
def test_time_and_condition_change_the_velocity(name, condition):
    x, t, cond = example(condition, (1, 8, 8))
    model = build(name, condition, (1, 8, 8))
    with torch.no_grad():
        velocity = model(x, t, cond)
        assert not torch.allclose(model(x, 1 - t, cond), velocity, atol=1e-4)
        if cond is not None:
            other = rows(cond, torch.arange(len(x)).roll(1))
            assert not torch.allclose(model(x, t, other), velocity, atol=1e-4)


@every_model
@pytest.mark.parametrize("condition", CONDITIONS[1:], ids=lambda condition: condition.kind)
def test_null_condition_is_a_condition_of_its_own(name, condition):
    x, t, cond = example(condition, (1, 8, 8))
    model = build(name, condition, (1, 8, 8))
    with torch.no_grad():
        null = model(x, t, condition.null(cond))
        assert null.isfinite().all()
        assert not torch.allclose(null, model(x, t, cond), atol=1e-4)


@every_model
def test_events_of_a_batch_do_not_see_each_other(name):
    x, t, cond = example(CONDITIONS[1], (1, 8, 8))
    model = build(name, CONDITIONS[1], (1, 8, 8))
    with torch.no_grad():
        torch.testing.assert_close(model(x, t, cond)[:2], model(x[:2], t[:2], cond[:2]), atol=1e-5, rtol=1e-4)


@every_model
def test_autocast_gives_float32_close_to_full_precision(name):
    x, t, cond = example(CONDITIONS[1], (1, 8, 8))
    model = build(name, CONDITIONS[1], (1, 8, 8))
    with torch.no_grad():
        full = model(x, t, cond)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(x, t, cond)
    assert mixed.dtype == torch.float32
    assert (mixed - full).norm() < 0.05 * full.norm()
    assert not torch.equal(mixed, full)


@every_model
def test_copies_and_state_dicts_compute_the_same(name):
    x, t, cond = example(CONDITIONS[1], (1, 8, 8))
    model = build(name, CONDITIONS[1], (1, 8, 8))
    other = build_model(SMALL.get(name, name), x.shape[1:], CONDITIONS[1]).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x, t, cond), model(x, t, cond))
    assert torch.equal(copy.deepcopy(model)(x, t, cond), model(x, t, cond))


@pytest.mark.parametrize("name", ["mlp", "unet", "dit"])
def test_float64_models_compute_in_float64(name):
    x, t, cond = example(CONDITIONS[2], (1, 8, 8))
    velocity = build(name, CONDITIONS[2], (1, 8, 8)).double()(x.double(), t.double(), cond)
    assert velocity.dtype == torch.float64


@every_model
@pytest.mark.parametrize("condition", CONDITIONS[3:], ids=lambda condition: condition.kind)
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
    for reads in ("a", "c", "a+b"):
        model = build(f"{spec}{separator}reads={reads}", CONDITIONS[-1], (1, 8, 8))
        with torch.no_grad():
            velocity = model(x, t, cond)
            for part in "abc":
                moved = Parts({**dict(cond.items()), part: rows(cond[part], torch.arange(len(x)).roll(1))})
                assert torch.allclose(model(x, t, moved), velocity, atol=1e-5) == (part not in reads)
        with pytest.raises(InputError, match="expected a condition with the parts"):
            model(x, t, cond["a"])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mlp:reads=d", "model 'mlp': reads='d' names no part 'd'; there are a, b, c"),
        ("mlp:reads=a+d", r"reads='a\+d' names no part 'd'"),
        ("mlp:reads=3", "reads=3 is not possible; expected the name of a part"),
    ],
)
def test_parts_that_are_not_there_are_refused(spec, message):
    with pytest.raises(OptionError, match=message):
        build_model(spec, torch.Size([2]), CONDITIONS[-1])


def test_auto_picks_by_the_shape_of_the_event():
    assert isinstance(build_model("auto", torch.Size([1, 8, 8]), Condition()), UNet)
    assert isinstance(build_model("auto", torch.Size([2]), Condition()), MLP)
    assert isinstance(build_model("auto:width=8", torch.Size([2, 3]), Condition()), MLP)


def test_user_options_leave_out_what_follows_from_the_data():
    assert model_options("mlp") == {"width": 256, "depth": 3, "reads": ""}
    with pytest.raises(OptionError, match="follows from the data"):
        build_model("mlp:event_shape=3", torch.Size([2]), Condition())


def test_unknown_models_and_options_name_the_nearest():
    with pytest.raises(UnknownComponentError, match="did you mean 'unet'"):
        build_model("unte", torch.Size([1, 8, 8]), Condition())
    with pytest.raises(OptionError, match="did you mean 'width'"):
        build_model("mlp:widht=3", torch.Size([2]), Condition())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mlp:width=0", "width=0"),
        ("mlp:depth=1.5", "depth=1.5"),
        ("unet:widths=64-x", "widths='64-x'"),
        ("unet:widths=0-64", "widths"),
        ("unet:blocks=0", "blocks=0"),
        ("unet:widths=10-15", "does not divide"),
        ("diffusers:blocks=0", "blocks=0"),
    ],
)
def test_impossible_options_are_refused(spec, message):
    with pytest.raises(OptionError, match=message):
        build_model(spec, torch.Size([1, 8, 8]), Condition())


@pytest.mark.parametrize("name", ["unet", "diffusers"])
def test_picture_models_refuse_other_events(name):
    with pytest.raises(OptionError, match=r"expected events \[C, H, W\], got \[2\]; use model mlp"):
        build_model(name, torch.Size([2]), Condition())


def test_widths_are_read_from_text_numbers_and_sequences():
    assert parse_widths("64-128", "unet") == (64, 128)
    assert parse_widths(32, "unet") == (32,)
    assert parse_widths([8, 16], "unet") == (8, 16)
    for wrong in ("", "a-b", (), None, -1, "64--128"):
        with pytest.raises(OptionError, match="widths"):
            parse_widths(wrong, "unet")


@every_model
@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: condition.kind)
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


def test_a_product_is_in_the_precision_of_its_context():
    x = torch.ones(2, 2)
    for name, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        with in_precision(name, torch.device("cpu")):
            assert (x @ x).dtype == dtype
