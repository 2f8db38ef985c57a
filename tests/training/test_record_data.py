"""Runs on shards, latents and Arrow folders: each rank its share, and a resumed run is the unbroken one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from flowprior.couplings import Coupling
from flowprior.data import Data, load_data
from flowprior.priors import Prior
from flowprior.storage.tensor_files import load_tensors
from flowprior.training.batches import PairStream, Randomness
from tests.cli.conftest import call_app
from tests.data_records import picture, reds, write_shards, write_tar
from tests.flow_folder import weights_of

EVENTS = 24
"""Events of a data set."""


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLOWPRIOR_CACHE", str(tmp_path / "cache"))


def shards(folder: Path) -> str:
    """Uneven shards, with one picture that cannot be decoded."""
    write_shards(folder, (11, 4, 8))
    bad = ("00023", {"png": picture(0)[:40], "cls": b"1"})
    write_tar(folder / "03.tar", [bad])
    return f"shards:path={folder},max_corrupt=1,test_fraction=0"


def latents(folder: Path) -> str:
    folder.mkdir()
    values = np.random.default_rng(0).standard_normal((EVENTS, 3, 2, 2)).astype(np.float16)
    np.save(folder / "latents.npy", values)
    np.save(folder / "labels.npy", np.arange(EVENTS) % 2)
    return f"latents:path={folder},test_fraction=0"


def arrow(folder: Path) -> str:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    images = [{"bytes": picture(row), "path": None} for row in range(EVENTS)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    values = {"image": images, "label": [row % 2 for row in range(EVENTS)]}
    datasets.Dataset.from_dict(values, features=features).save_to_disk(folder)
    return f"huggingface:path={folder},test_fraction=0"


every_kind = pytest.mark.parametrize(
    "make",
    [pytest.param(shards, marks=pytest.mark.slow), latents, arrow],
    ids=["shards", "latents", "huggingface"],
)
ignoring = pytest.mark.filterwarnings("ignore:.*records cannot be used:RuntimeWarning")


def stream(data: Data, micro_batches: int) -> PairStream:
    prior = Prior.create("gaussian").fit(data.batches())
    return PairStream(data, prior, Coupling.create("condot"), 8, Randomness(0), micro_batches)


def test_two_processes_see_disjoint_shares_of_uneven_shards_whose_union_is_the_epoch(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", (11, 4, 9))
    ranks = [load_data(str(tmp_path / "shards"), test_fraction=0) for _ in range(2)]
    seen = [[], []]
    for rank, data in enumerate(ranks):
        pairs = stream(data, micro_batches=2)
        for step in range(6):  # two epochs of 24
            seen[rank] += reds(pairs.micro_batch(step, rank)[1])
    for epoch in (slice(0, 12), slice(12, 24)):
        first, second = set(seen[0][epoch]), set(seen[1][epoch])
        assert first.isdisjoint(second)
        assert first | second == set(range(EVENTS))
    whole = stream(load_data(str(tmp_path / "shards"), test_fraction=0), micro_batches=1)
    both = [red for step in range(3) for rank in range(2) for red in seen[rank][4 * step : 4 * step + 4]]
    assert [red for step in range(3) for red in reds(whole.micro_batch(step)[1])] == both


@every_kind
@ignoring
def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(make: Callable[[Path], str], tmp_path: Path) -> None:
    options = ["--data", make(tmp_path / "data"), "--prior", "gmm:components=1", "--coupling", "ot"]
    options += ["--model", "mlp:width=8,depth=1", "--steps", "6"]
    small = {"batch_size": 8, "device": "cpu", "sample_every": 0, "checkpoint_every": 3, "prefetch": 2}
    for name, value in {**small, "validation": 6}.items():
        options += ["--set", f"training.{name}={value}"]
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    answer = call_app("train", *options, "--out", str(whole))
    assert answer.code == 0, answer.err
    shutil.copytree(whole, resumed)
    shutil.rmtree(resumed / "flow")
    shutil.rmtree(resumed / "checkpoints" / "step-000006")
    answer = call_app("train", *options, "--out", str(resumed), "--resume")
    assert answer.code == 0, answer.err
    mine, theirs = (load_tensors(weights_of(run / "flow"))[0] for run in (resumed, whole))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_run_on_shards_notes_its_corrupt_records_in_its_card_and_is_evaluated(tmp_path: Path) -> None:
    options = ["--data", shards(tmp_path / "data"), "--prior", "gmm:components=1", "--steps", "2"]
    options += ["--model", "mlp:width=8,depth=1", "--set", "training.batch_size=8"]
    answer = call_app("train", *options, "--set", "training.device=cpu", "--out", str(tmp_path / "run"))
    assert answer.code == 0
    assert "1 of 24 records cannot be used, such as 03.tar: 00023" in " ".join(answer.err.split())
    text = (tmp_path / "run" / "flow" / "flow.json").read_text()
    assert '"corrupt_records"' in text
    asked = ["--nfe", "0,1", "--samples", "8", "--metrics", "w2"]
    evaluated = call_app("evaluate", str(tmp_path / "run"), *asked)
    assert evaluated.code == 0, evaluated.err
    assert "against 23 test examples of" in " ".join(evaluated.out.split())
    refused = call_app(
        "train", *options, "--data", f"shards:path={tmp_path / 'data'}", "--out", str(tmp_path / "other")
    )
    assert refused.code == 2
    assert "that is more than max_corrupt=0.001 allows (0)" in " ".join(refused.err.split())
