"""flowprior list and info: everything that is registered, everything it runs on."""

from __future__ import annotations

import json
import platform

import pytest
import torch

from flowprior import Coupling, Path, Prior, Sampler, __version__
from flowprior.data import DATA
from flowprior.encoders import Encoder
from flowprior.features import FEATURES
from flowprior.metrics import Metric
from flowprior.models import MODELS
from flowprior.ops import backend
from flowprior.samplers import TimeGrid
from flowprior.training import Callback, LossWeight, TimeDistribution
from tests.cli.conftest import Call

REGISTRIES = {
    "priors": Prior.registry,
    "couplings": Coupling.registry,
    "paths": Path.registry,
    "samplers": Sampler.registry,
    "grids": TimeGrid.registry,
    "models": MODELS,
    "encoders": Encoder.registry,
    "data": DATA,
    "times": TimeDistribution.registry,
    "weights": LossWeight.registry,
    "callbacks": Callback.registry,
    "metrics": Metric.registry,
    "features": FEATURES,
}


def test_list_knows_every_component_of_every_family(call: Call) -> None:
    found = json.loads(call("list", "--json").out)
    assert list(found) == list(REGISTRIES)
    for family, registry in REGISTRIES.items():
        assert [component["name"] for component in found[family]] == registry.available()
        for component in found[family]:
            record = registry.record(component["name"])
            assert component["description"] == record.description
            assert component["aliases"] == list(record.aliases)


@pytest.mark.parametrize("family", REGISTRIES)
def test_the_table_names_them_too(call: Call, family: str) -> None:
    answer = call("list", family)
    assert answer.code == 0
    for name in REGISTRIES[family].available():
        assert name in answer.out


def test_options_come_with_their_defaults(call: Call) -> None:
    (gmm,) = [c for c in json.loads(call("list", "priors", "--json").out)["priors"] if c["name"] == "gmm"]
    assert gmm["options"]["components"] == 1
    assert gmm["options"]["covariance"] == "diag"
    assert "components=1" in call("list", "priors").out


def test_what_follows_from_the_data_is_no_option(call: Call) -> None:
    found = json.loads(call("list", "--json").out)
    assert all("split" not in component["options"] for component in found["data"])
    assert all(
        not {"event_shape", "condition", "inputs"} & set(component["options"])
        for component in found["models"]
    )


def test_info_tells_what_it_runs_on(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWPRIOR_CACHE", "/some/where")
    found = json.loads(call("info", "--json").out)
    assert found["versions"]["python"] == platform.python_version()
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"]["flowprior"] == __version__
    assert {"POT", "torchdiffeq"} <= set(found["versions"])
    assert found["devices"][0] == "cpu"
    assert len(found["devices"]) == 1 + torch.cuda.device_count()
    assert found["threads"] == torch.get_num_threads()
    assert found["ops"] == str(backend())
    assert found["cache"] == "/some/where"


def test_info_as_a_table(call: Call) -> None:
    answer = call("info")
    assert answer.code == 0
    for word in ("torch", torch.__version__, "plug-ins", "threads", backend().name):
        assert word in answer.out


def test_info_shows_plug_ins(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    from flowprior.cli import info

    point = EntryPoint("mine", "my_package:Mine", "flowprior.priors")
    monkeypatch.setattr(info, "entry_points", lambda group: [point] if group == point.group else [])
    assert json.loads(call("info", "--json").out)["plug-ins"] == [
        {"group": "flowprior.priors", "name": "mine", "value": "my_package:Mine", "package": ""}
    ]
    assert "flowprior.priors: mine" in call("info").out
