"""flowprior list and info: everything that is registered, everything it runs on."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path as FilePath

import pytest
import torch

from flowprior import Coupling, Path, Prior, Sampler, __version__
from flowprior.cli import catalogue
from flowprior.cli.catalogue import FILE, names_of
from flowprior.data import DATA
from flowprior.features.base import FEATURES
from flowprior.metrics import Metric
from flowprior.models import Encoder
from flowprior.models.base import MODELS
from flowprior.ops import backend
from flowprior.samplers import TimeGrid
from flowprior.training import Callback, LossWeight, TimeDistribution
from tests.cli.conftest import Call, FirstList, list_in

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


def test_the_choices_of_an_option_are_listed_to_the_last(call: Call) -> None:
    said = " ".join(call("list", "priors").out.split())
    for choice in ("standard", "scalar", "diagonal"):
        assert f'"{choice}" for ' in said


def test_every_option_of_every_component_is_explained(call: Call, first_list: FirstList) -> None:
    # Of a process of its own: other tests register components of theirs.
    found = json.loads(first_list.out)
    silent = {
        f"{component['name']} {option}"
        for components in found.values()
        for component in components
        for option in component["options"]
        if not component["meanings"][option]
    }
    assert not silent
    assert "K, number of components of each condition" in " ".join(call("list", "priors").out.split())


@pytest.mark.parametrize("words", [("priors", "gmm"), ("prior", "gmm"), ("prior", "mixture")])
def test_one_component_is_shown_with_all_that_is_said_of_it(call: Call, words: tuple[str, str]) -> None:
    answer = call("list", *words)
    said = " ".join(answer.out.split())
    assert "gmm (also mixture)" in said
    assert "so that a condition with 0, 1 or 2 examples still has a usable prior" in said
    assert "latent-gmm" not in said
    (component,) = json.loads(call("list", *words, "--json").out)["priors"]
    assert component["name"] == "gmm"


def test_what_was_listed_once_needs_no_torch(first_list: FirstList) -> None:
    """Two processes on one cache."""
    assert first_list.noted["torch"]
    again = list_in(first_list.cache)
    assert (again.out, again.noted["torch"]) == (first_list.out, False)


def test_a_list_of_other_files_of_the_package_is_made_anew(
    first_list: FirstList, tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = json.loads((first_list.cache / FILE).read_text())
    monkeypatch.setenv("FLOWPRIOR_CACHE", str(tmp_path))
    monkeypatch.setattr(catalogue, "asks_the_registries", lambda: False)
    monkeypatch.setattr(catalogue, "describe_all", lambda: "anew")
    for key, found in ((kept["key"], kept["families"]), ("of other files", "anew")):
        (tmp_path / FILE).write_text(json.dumps({**kept, "key": key}))
        assert catalogue.catalogue() == found


def test_where_there_are_plug_ins_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints([EntryPoint("mine", "my_package:Mine", "flowprior.priors")])
    monkeypatch.setattr(catalogue, "entry_points", lambda: points)
    monkeypatch.delitem(sys.modules, "torch")
    assert catalogue.asks_the_registries()
    monkeypatch.setattr(catalogue, "entry_points", lambda: EntryPoints([]))
    assert not catalogue.asks_the_registries()


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
    from flowprior.cli import info

    point = EntryPoint("mine", "my_package:Mine", "flowprior.priors")
    monkeypatch.setattr(info, "points_of", lambda group: [point] if group == point.group else [])
    assert json.loads(call("info", "--json").out)["plug-ins"] == [
        {"group": "flowprior.priors", "name": "mine", "value": "my_package:Mine", "package": ""}
    ]
    assert "flowprior.priors: mine" in call("info").out


@pytest.mark.parametrize("family", REGISTRIES)
def test_the_names_that_a_shell_completes_are_those_of_the_registry(family: str) -> None:
    every = map(REGISTRIES[family].record, REGISTRIES[family].available())
    assert names_of(family) == [r.name for r in every if r.factory.__module__.startswith("flowprior.")]


def test_info_of_a_saved_prior_names_the_training_data_that_it_holds(call: Call, tmp_path: FilePath) -> None:
    x, labels, embeddings = torch.randn(30, 2), torch.arange(30) % 3, torch.randn(30, 4)
    for name, cond in (("gmm", labels), ("kernel-mean", embeddings)):
        Prior.create(name).fit((x, cond)).save(tmp_path / name)
    assert json.loads(call("info", str(tmp_path / "gmm"), "--json").out) == {
        "prior": "gmm",
        "training data": None,
    }
    assert "30 training conditions" in call("info", str(tmp_path / "kernel-mean")).out
    assert "none" in call("info", str(tmp_path / "gmm")).out
    assert call("info", str(tmp_path / "nothing")).code == 2
