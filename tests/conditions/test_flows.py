"""One part in a mapping is that tensor alone, in training, sampling, files and all that looks at a flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from flowprior import Flow, evaluate, train
from flowprior.cli.samples_file import save_samples
from flowprior.conditions import Condition, Parts, TokenStates
from flowprior.conditions.rows import equal, rows
from flowprior.couplings import Coupling
from flowprior.data import TensorData
from flowprior.data.base import as_data, data_digest
from flowprior.errors import InputError, OptionError
from flowprior.inspection import inspect_priors
from flowprior.models import build_model
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.training.batches import Randomness
from flowprior.training.loop import drop_conditions, dropped_rows
from tests.conditions.short import SHORT
from tests.expected_warnings import FEW_REFERENCES

COUNT = 40
DROPPING = SHORT | {"condition_dropout": 0.3}
MLP = "mlp:width=16,depth=1"
UNET = "unet:widths=8-16,patch=1,heads=2"
DIT = "dit:patch=2,width=16,depth=1,heads=2"


def points() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(COUNT, 2, generator=generator) + (torch.arange(COUNT) % 3)[:, None]


def pictures() -> torch.Tensor:
    return torch.tanh(torch.randn(COUNT, 1, 4, 4, generator=torch.Generator().manual_seed(1)))


def conditions() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(2)
    mask = torch.arange(5) < (torch.arange(COUNT) % 5 + 1)[:, None]
    return {
        "style": torch.arange(COUNT) % 3,
        "caption": torch.randn(COUNT, 4, generator=generator),
        "words": TokenStates(torch.randn(COUNT, 5, 6, generator=generator), mask),
    }


def same_weights(first: Flow, second: Flow) -> bool:
    """Whether model and prior hold the same numbers in the same order, whatever their names."""
    a, b = (list(flow.state_dict().values()) for flow in (first, second))
    return all(torch.equal(one, other) for one, other in zip(a, b, strict=True))


ALONE: list[tuple[str, str, str, str, Callable[[], torch.Tensor]]] = [
    ("style", "gmm", "ot", MLP, points),
    ("style", "latent-gmm:rank=2", "posterior", MLP, points),
    ("style", "gaussian", "independent", UNET, pictures),
    ("caption", "learned-mean:epochs=1,hidden=8,depth=1", "ot", MLP, points),
    ("caption", "gaussian", "condot", DIT, pictures),
    ("words", "gaussian", "condot", UNET, pictures),
    ("words", "gaussian", "ot", DIT, pictures),
    ("words", "gaussian", "independent", MLP, points),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "prior", "coupling", "model", "events"), ALONE)
def test_one_part_in_a_mapping_is_that_tensor_alone(name, prior, coupling, model, events, tmp_path):
    alone, x = conditions()[name], events()
    flows = [
        train((x, cond), prior=prior, coupling=coupling, model=model, **DROPPING, out=tmp_path / run)
        for run, cond in (("alone", alone), ("mapping", {"it": alone}))
    ]
    assert same_weights(*flows)
    few = rows(alone, slice(0, 5))
    for guidance in (1.0, 2.5, 0.0):
        drawn = [
            flow.sample(cond, nfe=2, guidance=guidance, generator=torch.Generator().manual_seed(0))
            for flow, cond in zip(flows, (few, {"it": few}), strict=True)
        ]
        assert torch.equal(*drawn)
    loaded = Flow.load(tmp_path / "mapping")
    assert loaded.condition == flows[1].condition == Condition.of(Parts({"it": alone}))
    again = loaded.sample({"it": few}, nfe=2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again, flows[0].sample(few, nfe=2, generator=torch.Generator().manual_seed(0)))
    if x.dim() == 2:
        assert torch.equal(loaded.log_prob(x[:3], {"it": few[:3]}), flows[0].log_prob(x[:3], few[:3]))


@pytest.fixture(scope="module")
def several(tmp_path_factory) -> Flow:
    """A flow of three parts, whose prior reads the caption and whose coupling the style."""
    return train(
        (pictures(), conditions()),
        prior="learned-mean:epochs=1,hidden=8,depth=1,reads=caption",
        coupling="ot:reads=style",
        model=UNET,
        out=tmp_path_factory.mktemp("run") / "run",
        **{**DROPPING, "sample_every": 4, "sample_nfe": 1},
    )


def draw(flow: Flow, cond: Any, **options: Any) -> torch.Tensor:
    return flow.sample(cond, nfe=2, generator=torch.Generator().manual_seed(0), **options)


@pytest.mark.parametrize("model", [UNET, DIT, MLP])
def test_every_part_reaches_a_network_and_padding_does_not(model):
    from flowprior.models import build_model

    cond = Parts(conditions())
    net = build_model(model, torch.Size([1, 4, 4]), Condition.of(cond))
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        parameter.data.normal_(0, 0.2, generator=generator)
    x, t = torch.randn(COUNT, 1, 4, 4, generator=generator), torch.linspace(0, 1, COUNT)
    given, words = net(x, t, cond), cond["words"]
    assert isinstance(words, TokenStates)
    for name, part in cond.items():
        changed = Parts({**dict(cond.items()), name: rows(part, torch.arange(COUNT).roll(1))})
        assert not torch.allclose(net(x, t, changed), given), f"{name} is not read"
    for filling in (7.0, float("nan"), float("inf")):
        full = TokenStates(words.states.masked_fill(~words.mask[..., None], filling), words.mask)
        assert torch.equal(net(x, t, Parts({**dict(cond.items()), "words": full})), given)
    longer = Parts({**dict(cond.items()), "words": words.padded(9)})
    assert torch.allclose(net(x, t, longer), given, atol=1e-5)


def test_a_flow_of_several_parts_is_saved_and_read_with_what_each_reads(several, tmp_path):
    several.save(tmp_path / "flow")
    loaded, few = Flow.load(tmp_path / "flow"), rows(Parts(conditions()), slice(0, 6))
    assert loaded.prior.reads == "caption"
    assert loaded.coupling.reads == "style"
    assert loaded.condition.names == ("caption", "style", "words")
    assert torch.equal(draw(loaded, few), draw(several, few))
    assert torch.equal(loaded.prior.mean(few), loaded.prior.mean(few["caption"]))


def test_guidance_and_batches_keep_all_parts_together(several):
    few = rows(Parts(conditions()), slice(0, 6))
    whole = draw(several, few, guidance=2.0)
    assert torch.allclose(draw(several, few, guidance=2.0, batch_size=4), whole, atol=1e-5)
    x, t = whole, torch.full((6,), 0.5)
    null = several.condition.null(few)
    guided = several.velocity(x, t, few, guidance=3.0)
    by_hand = several.velocity(x, t, null) + 3.0 * (
        several.velocity(x, t, few) - several.velocity(x, t, null)
    )
    assert torch.allclose(guided, by_hand, atol=1e-4)


def test_dropout_drops_whole_rows_over_all_parts():
    cond = Parts(conditions())
    condition = Condition.of(cond)
    dropped = drop_conditions(cond, condition, dropped_rows(COUNT, 0.5, 0, Randomness(0)))
    null = condition.null(cond)
    is_null = dropped["style"] == condition["style"].size
    assert 5 < int(is_null.sum()) < COUNT - 5
    assert equal(rows(dropped, is_null), rows(null, is_null))
    assert equal(rows(dropped, ~is_null), rows(cond, ~is_null))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"prior": "gmm", "data": {"style": 0, "group": 0}},
            "gmm.fit: the condition has several parts that it could read: group, style; choose one, as in "
            "gmm:reads=group",
        ),
        ({"prior": "gmm:reads=size"}, "gmm.fit: reads='size' names no part; there are caption, style, words"),
        ({"prior": "gmm:reads=3"}, "prior 'gmm': reads=3 is not possible; expected text"),
        ({"prior": "gmm:reads=caption"}, r"gmm.fit: expected labels .*, got torch.float32 \[40, 4\]"),
        (
            {"prior": "gmm:reads=style", "data": None},
            "gmm.fit: reads='style' names a part, but the condition",
        ),
        ({"model": f"{MLP},reads=size"}, "model 'mlp': reads='size' names no part 'size'; there are caption"),
        (
            {"model": f"{MLP},reads=style", "data": None},
            "reads='style' .* there are no parts in this condition",
        ),
        ({"coupling": "ot:reads=size"}, "ot.pair: reads='size' names no part 'size'"),
    ],
)
def test_training_says_which_parts_there_are_to_choose_from(options, message):
    given = options.pop("data", ...)
    cond = conditions() if given is ... else conditions()["style"]
    if isinstance(given, dict):
        cond = dict.fromkeys(given, conditions()["style"])
    parts = {"prior": "gaussian", "coupling": "condot", "model": MLP, **DROPPING, **options}
    with pytest.raises((InputError, OptionError), match=message) as caught:
        train((points(), cond), **parts)
    assert "\n" not in str(caught.value)


def test_arrays_hold_parts_under_names_of_their_own(tmp_path):
    import numpy as np

    data = conditions()
    stored = {"x": points(), "cond.style": data["style"], "cond.words": data["words"].states}
    stored |= {"cond.words.mask": data["words"].mask, "x_test": points()[:4]}
    stored |= {"cond_test.style": data["style"][:1].repeat(4), "cond_test.words": data["words"].states[:4]}
    stored |= {"cond_test.words.mask": data["words"].mask[:4]}
    np.savez(tmp_path / "data.npz", **{name: value.numpy() for name, value in stored.items()})
    read = as_data(tmp_path / "data.npz")
    assert read.condition == Condition.of(Parts({"style": data["style"], "words": data["words"]}))
    _, cond = read.batch(torch.tensor([3, 1]))
    expected = {"style": data["style"], "words": data["words"].cleared()}
    assert equal(cond, rows(Parts(expected), torch.tensor([3, 1])))
    from flowprior.data import load_data

    test = load_data(str(tmp_path / "data.npz"), "test")
    assert test.condition == read.condition, "though it shows one label only"
    del stored["cond.words"]
    np.savez(tmp_path / "data.npz", **{name: value.numpy() for name, value in stored.items()})
    with pytest.raises(InputError, match=r"data.npz: expected token states cond.words for the mask"):
        as_data(tmp_path / "data.npz")


def test_the_digest_of_data_looks_at_every_part():
    data = conditions()
    digests = {data_digest(TensorData(points(), cond)) for cond in (data["style"], Parts(data))}
    changed = {**data, "words": TokenStates(data["words"].states + 1, data["words"].mask)}
    assert len(digests | {data_digest(TensorData(points(), Parts(changed)))}) == 3


# -- evaluation, studies, files and inspection ----------------------------------------------------


COND = Parts(conditions())


@pytest.fixture(scope="module")
def of_style() -> Flow:
    prior = Prior.create("gmm").fit((points(), {"style": COND["style"]}))
    condition = Condition.of(COND)
    parts = (Coupling.create("condot"), Path.create("condot"), condition)
    return Flow(build_model("mlp:width=8,depth=1", torch.Size([2]), condition), prior, *parts)


@pytest.fixture(scope="module")
def data() -> TensorData:
    return TensorData(points(), COND, name="points")


@FEW_REFERENCES
def test_a_flow_is_evaluated_for_the_conditions_of_the_data(of_style, data):
    names = ("w2", "sliced-w2", "curvature", "path-energy", "truncation", "nll")
    found = evaluate(of_style, data, nfe=(1,), samples=8, metrics=list(names))
    values = {row["metric"] for row in found.rows}
    assert {"w2_squared", "sliced_w2_squared", "curvature", "path_energy", "nll_bits"} <= values
    other = TensorData(points(), COND.only(("style",)))
    with pytest.raises(InputError, match=r"the flow makes events .* from parts caption"):
        evaluate(of_style, other, nfe=(1,), samples=8, metrics="w2")


@pytest.mark.parametrize("suffix", [".npz", ".pt"])
def test_samples_are_written_with_their_parts_and_read_as_data(suffix, tmp_path):
    path = tmp_path / f"samples{suffix}"
    save_samples(path, points(), COND)
    _, cond = as_data(path).batch(torch.arange(36))
    assert as_data(path).condition == Condition.of(COND)
    assert isinstance(cond, Parts)


def test_a_prior_is_inspected_on_parts(data):
    found = inspect_priors(data, ["gmm"], ["condot", "ot"], steps=1)
    assert len(found.pairings) == 2
