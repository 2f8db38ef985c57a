"""A fitted prior alone goes to the disk and comes back, and files that are not its own are refused."""

from __future__ import annotations

import json

import pytest
import torch

from flowprior import Prior
from flowprior.errors import CheckpointError, NotFittedError
from flowprior.priors.saved import FORMAT
from flowprior.storage.digests import signed, unsigned
from tests.little_memory import little_memory

LABELS = torch.arange(200) % 3
SPECS = ("gmm:components=2", "latent-gmm:components=2,rank=2,basis=shared", "gaussian:moments=diagonal")


def fitted(spec: str = SPECS[0]) -> Prior:
    x = torch.randn(200, 2, 3, generator=torch.Generator().manual_seed(0)) + LABELS[:, None, None]
    return Prior.registry.resolve(spec).fit((x, LABELS), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("spec", SPECS)
def test_a_loaded_prior_is_the_saved_one(spec, tmp_path):
    prior = fitted(spec)
    prior.save(tmp_path / "prior")
    again = Prior.load(tmp_path / "prior")
    draws = [p.sample(LABELS, generator=torch.Generator().manual_seed(1)) for p in (prior, again)]
    assert torch.equal(*draws)
    assert torch.equal(prior.log_prob(draws[0], LABELS), again.log_prob(draws[0], LABELS))
    assert type(again) is type(prior)


def test_saving_again_replaces_and_leaves_two_files(tmp_path):
    fitted(SPECS[0]).save(tmp_path)
    fitted(SPECS[2]).save(tmp_path)
    assert Prior.load(tmp_path).name == "gaussian"
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[1] == "prior.json"
    assert len(names) == 2


def test_what_is_no_saved_prior_is_refused(tmp_path):
    with pytest.raises(NotFittedError, match="save"):
        Prior.create("gmm").save(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"holds other files and no prior\.json"):
        fitted().save(tmp_path)
    with pytest.raises(CheckpointError, match="is missing"):
        Prior.load(tmp_path)


def test_changed_files_are_refused(tmp_path):
    fitted().save(tmp_path)
    weights = next(tmp_path.glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match="does not belong to"):
        Prior.load(tmp_path)
    description = json.loads((tmp_path / "prior.json").read_text())
    (tmp_path / "prior.json").write_text(json.dumps({**description, "prior": "gaussian"}))
    with pytest.raises(CheckpointError, match="its digest does not match"):
        Prior.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prior": "shifted:prior=gmm"}, "'shifted', which commit ec83d767 of flowprior"),
        ({"format": FORMAT + 1}, f"reads formats up to {FORMAT}; install a newer one"),
    ],
)
def test_a_prior_of_another_version_says_what_reads_it(change, message, tmp_path):
    fitted().save(tmp_path)
    file = tmp_path / "prior.json"
    values = {**unsigned(json.loads(file.read_text()), file), **change}
    file.write_text(json.dumps(signed(values)))
    with pytest.raises(CheckpointError, match=message) as refused:
        Prior.load(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_prior_with_nan_is_not_saved(tmp_path):
    prior = fitted()
    prior.get_buffer("loc")[0, 0, 0] = torch.nan
    with pytest.raises(CheckpointError, match="'loc' holds NaN"):
        prior.save(tmp_path)


def test_what_a_killed_save_left_is_removed_by_the_next_one(tmp_path):
    left = (".prior.json.0123abcd.tmp", f".prior-{'0' * 16}.safetensors.0123abcd.tmp")
    for name in (*left, ".notes.txt.0123abcd.tmp"):
        (tmp_path / name).touch()
    fitted().save(tmp_path)
    names = sorted(path.name.partition("-")[0] for path in tmp_path.iterdir())
    assert names == [".notes.txt.0123abcd.tmp", "prior", "prior.json"]


def test_a_prior_larger_than_its_tensors_is_refused_before_it_takes_memory(tmp_path):
    fitted("learned-mean:epochs=1,hidden=8").save(tmp_path)
    file = tmp_path / "prior.json"
    values = unsigned(json.loads(file.read_text()), file)
    file.write_text(json.dumps(signed({**values, "prior": "learned-mean:hidden=16000"})))
    with little_memory(), pytest.raises(CheckpointError, match="it is much larger than the"):
        Prior.load(tmp_path)
