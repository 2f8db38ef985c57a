"""A flow on disk: bit for bit back, or one clear line."""

from __future__ import annotations

import copy
import json
import pickle
from functools import cache
from pathlib import Path as FilePath
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.errors import CheckpointError
from flowprior.flow import Flow
from flowprior.models import build_model
from flowprior.paths import CondOTPath, Path
from flowprior.priors import Prior
from flowprior.registry.registry import spec_of
from flowprior.samplers import Sampler
from tests.flow_folder import redescribe, weights_of
from tests.gaussian_flow import ClassVelocity
from tests.little_memory import little_memory

LABELS = Condition("labels", 3)
SPECS = {
    "empirical": "empirical:keep=true",
    "flow": "flow:rank=2,steps=20,hidden=16,transforms=2",
    "vae": "vae:latent=2,width=4,steps=20,importance=4",
    "gaussian": "gaussian:moments=diagonal",
    "gmm": "gmm:components=2,covariance=lowrank,rank=1",
    "learned-mean": "learned-mean:epochs=1,covariance=lowrank,rank=2,components=1",
}


def data(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    labels = torch.arange(60) % 3
    return torch.randn(60, 4, generator=torch.Generator().manual_seed(0), dtype=dtype) + labels[
        :, None
    ], labels


@cache
def fitted(spec: str, dtype: torch.dtype) -> Prior:
    """Fitted once; a flow gets a copy of its own."""
    return Prior.registry.resolve(spec).fit(data(dtype), generator=torch.Generator().manual_seed(0))


def build(
    prior: str = "gmm",
    coupling: str = "ot",
    dtype: torch.dtype = torch.float32,
    model: nn.Module | None = None,
) -> Flow:
    prior_spec = SPECS.get(prior, prior)
    spec = "" if model is not None else "mlp"
    network = model or build_model("mlp", torch.Size([4]), LABELS).to(dtype)
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(number))
    return Flow(
        network,
        copy.deepcopy(fitted(prior_spec, dtype)),
        Coupling.registry.resolve(coupling),
        CondOTPath(0.01),
        LABELS,
        model_spec=spec,
        prior_spec=prior_spec,
        metadata={"step": 3},
    )


def assert_same(flow: Flow, loaded: Flow) -> None:
    state, other = flow.state_dict(), loaded.state_dict()
    assert state.keys() == other.keys()
    for name, tensor in state.items():
        assert other[name].dtype == tensor.dtype
        torch.testing.assert_close(other[name], tensor, rtol=0, atol=0)
    labels = torch.arange(9) % 3
    samples = [f.sample(labels, nfe=3, generator=torch.Generator().manual_seed(1)) for f in (flow, loaded)]
    torch.testing.assert_close(*samples, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("prior", sorted({*Prior.available()} - {"around"}))
def test_round_trip_bit_for_bit(prior: str, dtype: torch.dtype, tmp_path: FilePath) -> None:
    flow = build(prior, dtype=dtype)
    flow.save(tmp_path / "flow")
    loaded = Flow.load(tmp_path / "flow")
    assert_same(flow, loaded)
    assert loaded.metadata == {"step": 3}
    assert loaded.condition == LABELS
    assert loaded.event_shape == torch.Size([4])
    assert isinstance(loaded.path, CondOTPath)
    assert loaded.path.sigma_min == 0.01
    loaded.save(tmp_path / "again")
    for name in ("flow.json", weights_of(tmp_path / "flow").name):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "flow" / name).read_bytes()


def test_the_description_is_readable(tmp_path: FilePath) -> None:
    build(coupling="ot:condition=within,ot_batch=64").save(tmp_path / "flow")
    description = json.loads((tmp_path / "flow" / "flow.json").read_text())
    assert description["prior"] == "gmm:components=2,covariance=lowrank,rank=1"
    assert description["coupling"] == "ot:condition=within,ot_batch=64"
    assert description["path"] == "condot:sigma_min=0.01"
    assert description["model"] == "mlp"
    assert description["condition"] == {"kind": "labels", "size": 3}
    assert description["event_shape"] == [4]
    weights = f"weights-{description['files']['weights']['sha256'][:16]}.safetensors"
    names = ["README.md", "flow.json", weights]
    assert sorted(p.name for p in (tmp_path / "flow").iterdir()) == names


def test_somebody_elses_network(tmp_path: FilePath) -> None:
    flow = build(model=ClassVelocity(3, 4))
    flow.save(tmp_path / "flow")
    assert_same(flow, Flow.load(tmp_path / "flow", model=ClassVelocity(3, 4)))
    with pytest.raises(CheckpointError, match=r"its model is not one of flowprior's; pass it as Flow.load"):
        Flow.load(tmp_path / "flow")
    with pytest.raises(CheckpointError, match=r"the tensors do not fit the model.*size mismatch for table"):
        Flow.load(tmp_path / "flow", model=ClassVelocity(4, 4))


@pytest.mark.parametrize(
    "wrap", [lambda net: net, copy.deepcopy, torch.compile], ids=["built", "copied", "compiled"]
)
@pytest.mark.parametrize("spec", ["mlp:width=16,depth=1", "auto:width=8"])
def test_a_network_that_was_built_by_a_spec_says_it_itself(spec: str, wrap: Any, tmp_path: FilePath) -> None:
    network = build_model(spec, torch.Size([4]), LABELS)
    prior = Prior.create("gmm").fit(data(torch.float32), generator=torch.Generator().manual_seed(0))
    flow = Flow(wrap(network), prior, Coupling.create("condot"), CondOTPath(), LABELS)
    flow.save(tmp_path / "flow")
    loaded, labels = Flow.load(tmp_path / "flow"), torch.arange(3)
    assert loaded.specs["model"] == spec.replace("auto", "mlp")
    kept = Flow(network, prior, Coupling.create("condot"), CondOTPath(), LABELS)
    assert_same(kept, loaded)
    drawn = [
        each.sample(labels, nfe=2, generator=torch.Generator().manual_seed(1)) for each in (kept, loaded)
    ]
    assert torch.equal(*drawn)


def test_a_function_as_the_model(tmp_path: FilePath) -> None:
    def velocity(x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        return -x

    flow = build()
    plain = Flow(velocity, flow.prior, flow.coupling, flow.path, LABELS)
    with pytest.warns(RuntimeWarning, match=r"flow\.save: the network is a function, .* not saved"):
        plain.save(tmp_path / "flow")
    assert_same(plain, Flow.load(tmp_path / "flow", model=velocity))  # type: ignore[arg-type]


# -- damage -----------------------------------------------------------------------------------


def damaged(tmp_path: FilePath, **changes: object) -> FilePath:
    """A saved flow with keys of its description changed, or taken away where the value is None."""
    folder = tmp_path / "flow"
    build().save(folder)
    return redescribe(folder, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"format": 99, "flowprior": "9.0"},
            r"has format 99, written by flowprior 9\.0.*install a newer one",
        ),
        ({"format": None}, "truncated or corrupted"),
        ({"format": 2}, "has format 2, which commit aedbeeba of flowprior is the last to read; train"),
        ({"condition": None}, "incomplete or damaged"),
        ({"condition": {"sort": "labels"}}, "incomplete or damaged"),
        ({"prior": None}, "incomplete or damaged"),
        ({"prior": "gmmm"}, "unknown prior 'gmmm'; did you mean 'gmm'"),
        ({"prior": "gmm:components=0"}, "components"),
        (
            {"prior": "shifted:scale=true"},
            "got 'shifted', which commit ec83d767 of flowprior is the last to read",
        ),
        ({"prior": "gaussian"}, "the tensors do not fit the prior 'gaussian'"),
        ({"model": "mlp:width=7"}, "the tensors do not fit the model 'mlp:width=7'"),
        ({"coupling": "ot:methd=exact"}, "no option 'methd'"),
        ({"event_shape": [5]}, "the tensors do not fit the model"),
    ],
)
def test_a_description_that_does_not_fit(
    changes: dict[str, object], message: str, tmp_path: FilePath
) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        Flow.load(damaged(tmp_path, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["flow.json", "weights"])
@pytest.mark.parametrize("damage", ["missing", "cut", "junk", "pickle", "empty"])
def test_damaged_files(kind: str, damage: str, tmp_path: FilePath) -> None:
    folder = damaged(tmp_path)
    path = folder / kind if kind == "flow.json" else weights_of(folder)
    name = path.name
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        contents = {"cut": whole[:-20], "junk": b"\xff" * 99, "pickle": pickle.dumps({"a": 1}), "empty": b""}
        path.write_bytes(contents[damage])
    with pytest.raises(CheckpointError, match=r"missing|truncated|corrupted") as caught:
        Flow.load(path.parent)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


# -- what cannot be saved ---------------------------------------------------------------------


def test_an_unregistered_part_says_what_to_do(tmp_path: FilePath) -> None:
    class Home(CondOTPath):
        pass

    flow = build()
    flow.path = Home()
    with pytest.raises(CheckpointError, match=r"path Home is not registered.*register it with Path.register"):
        flow.save(tmp_path / "flow")
    assert list(tmp_path.iterdir()) == []


def test_metadata_must_be_plain(tmp_path: FilePath) -> None:
    flow = build()
    flow.metadata = {"tensor": torch.zeros(2)}
    with pytest.raises(CheckpointError, match="metadata must be plain JSON values"):
        flow.save(tmp_path / "flow")


def components() -> list[object]:
    """(family, name) of everything registered."""
    return [
        pytest.param(family, name)
        for family in (Prior, Coupling, Path, Sampler)
        for name in family.available()
    ]


@pytest.mark.parametrize(("family", "name"), components())
def test_every_registered_component_can_be_rebuilt_from_what_it_stores(
    family: type[Prior], name: str
) -> None:
    assert spec_of(family.registry, family.create(name)) == name


@pytest.mark.parametrize(
    ("part", "spec"),
    [
        ("model", "mlp:width=16000"),
        ("model", "mlp:width=1,depth=100000"),
        ("prior", "learned-mean:hidden=16000"),
    ],
)
def test_a_network_larger_than_its_weights_is_refused_before_it_takes_memory(
    part: str, spec: str, tmp_path: FilePath
) -> None:
    """The description asks for gigabytes, in numbers or in layers; its tensors are those of a small flow."""
    build("learned-mean").save(tmp_path)
    redescribe(tmp_path, **{part: spec})
    with (
        little_memory(),
        pytest.raises(CheckpointError, match=rf"the {part} '{spec}': it is much larger than"),
    ):
        Flow.load(tmp_path)
