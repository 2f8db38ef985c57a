"""flowprior list and info: everything that is registered, everything it runs on."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path as FilePath
from types import SimpleNamespace

import pytest
import torch

from flowprior import Prior, __version__
from flowprior.cli import info
from flowprior.cli.catalogue import FAMILIES, FILE, NOT_FOR_USERS, catalogue, names_of, registry_of
from flowprior.ops import backend
from tests.cli.conftest import Call


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_listed_with_every_component_that_is_registered(call: Call, family: str) -> None:
    found, registry = json.loads(call("list", family, "--json").out)[family], registry_of(family)
    assert [component["name"] for component in found] == registry.available()
    for component in found:
        record = registry.record(component["name"])
        assert component["description"] == record.description
        assert re.fullmatch(r".{10,109}\.", record.description)
        assert component["aliases"] == list(record.aliases)
        assert not set(NOT_FOR_USERS.get(family, ())) & set(component["options"])
    shown = call("list", family)
    assert (shown.code, [name for name in registry.available() if name not in shown.out]) == (0, [])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_option_of_our_components_is_explained_and_their_names_are_completed(family: str) -> None:
    ours = names_of(family)
    (components,) = catalogue([family]).values()
    records = [registry_of(family).record(component["name"]) for component in components]
    assert ours == [r.name for r in records if r.factory.__module__.startswith("flowprior.")]
    meanings = {of["name"]: of["meanings"] for of in components if of["name"] in ours}
    assert [(name, option) for name, of in meanings.items() for option in of if not of[option]] == []


def test_the_choices_of_an_option_are_listed_to_the_last(call: Call) -> None:
    said = " ".join(call("list", "priors").out.split())
    for choice in ("standard", "scalar", "diagonal"):
        assert f'"{choice}" for ' in said


def test_one_component_is_shown_by_name_or_alias_with_all_of_its_meanings(call: Call) -> None:
    answer = call("list", "prior", "mixture")
    said = " ".join(answer.out.split())
    assert "gmm (also mixture)" in said
    assert "so that a condition with 0, 1 or 2 examples still has a usable prior" in said
    assert "latent-gmm" not in said
    (component,) = json.loads(call("list", "priors", "gmm", "--json").out)["priors"]
    assert component["name"] == "gmm"


def test_info_names_versions_devices_backend_and_plug_ins(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = EntryPoints([EntryPoint("mine", "my_package:Mine", "flowprior.priors")])
    monkeypatch.setattr(info, "entry_points", lambda: points)
    monkeypatch.setattr(info, "points_of", lambda group: points.select(group=group))
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
    assert found["plug-ins"] == ["flowprior.priors: mine = my_package:Mine"]
    shown = call("info").out
    for word in (torch.__version__, "threads", backend().name, "my_package:Mine"):
        assert word in shown


def test_info_of_a_saved_prior_names_the_training_data_that_it_holds(call: Call, tmp_path: FilePath) -> None:
    x, labels, embeddings = torch.randn(30, 2), torch.arange(30) % 3, torch.randn(30, 4)
    for name, cond in (("gmm", labels), ("kernel-mean", embeddings)):
        Prior.create(name).fit((x, cond)).save(tmp_path / name)
    assert json.loads(call("info", str(tmp_path / "gmm"), "--json").out) == {
        "prior": "gmm",
        "training data": None,
    }
    assert "30 training conditions" in call("info", str(tmp_path / "kernel-mean")).out
    assert call("info", str(tmp_path / "nothing")).code == 2


LISTED = """
import sys
from flowprior.cli import main
try:
    main(["list", "--json"])
finally:
    assert "torch" not in sys.modules
"""


def test_what_was_listed_once_needs_no_torch_until_a_file_of_the_package_changes(
    call: Call, tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWPRIOR_CACHE", str(tmp_path))
    monkeypatch.setattr("flowprior.cli.catalogue.sys", SimpleNamespace(modules={}))  # as if without torch
    first = call("list", "--json").out
    assert list(json.loads(first)) == list(FAMILIES)
    again = subprocess.run([sys.executable, "-c", LISTED], capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout, again.stderr) == (0, first, "")
    kept = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({"key": "of other files", "families": {}}))
    assert call("list", "--json").out == first
    assert json.loads((tmp_path / FILE).read_text()) == kept
