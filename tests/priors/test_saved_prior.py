"""A fitted prior goes to the disk and comes back, of older versions too; files of others are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from flowprior import Prior
from flowprior.errors import CheckpointError, NotFittedError
from flowprior.priors import latent_gmm
from flowprior.priors.old_formats import RENAMED
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


# -- files of older versions ----------------------------------------------------------------------


DIM, RANK = 5, 2
NAMES = {new: old for old, new in RENAMED.items() if old not in ("table.conditions", "table.count")}
"""The name of a tensor of ``seen`` now -> its name then."""


def data_of(labels: Tensor | None, n: int = 120) -> tuple[Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(5)
    mixed = torch.randn(n, DIM, generator=generator) @ torch.randn(DIM, DIM, generator=generator)
    return mixed if labels is None else mixed + labels[:, None], labels


def fitted_to(spec: str, data: tuple[Tensor, Tensor | None]) -> Prior:
    return Prior.registry.resolve(spec).fit(data, generator=torch.Generator().manual_seed(0))


def renamed(state: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """What was kept of the conditions has its names of then; there were no centres."""
    later = [prefix + name for name in ("seen.spread", "seen.saw_zero", "seen.pooled")]
    own = {name: value for name, value in state.items() if name not in later}
    for name in [name for name in own if name.removeprefix(prefix) in NAMES and name.startswith(prefix)]:
        own[prefix + NAMES[name.removeprefix(prefix)]] = own.pop(name)
    return own


def counted(state: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """A mixture of then: the examples of each label, and one row more in all tables, that of all data."""
    own, count = dict(state), torch.zeros(int(state[f"{prefix}seen.size"][1]), dtype=torch.float64)
    if len(count):
        count[own[f"{prefix}seen.rows"]] = own[f"{prefix}seen.weight"].double()
    for name in [name for name in own if name.startswith(f"{prefix}seen.")]:
        del own[name]
    for name in ("logits", "loc", "var", "cholesky"):
        if f"{prefix}{name}" in own:
            table = own[f"{prefix}{name}"]
            own[f"{prefix}{name}"] = torch.cat([table, torch.full_like(table[:1], 7.0)])
    return {**own, f"{prefix}count": count}


def assert_reads(spec: str, state: dict[str, Any], prior: Prior, data: tuple[Tensor, Tensor | None]) -> Prior:
    loaded = Prior.registry.resolve(spec)
    loaded.load_state_dict(state)
    assert torch.equal(loaded.log_prob(*data), prior.log_prob(*data))
    assert torch.equal(loaded.seen.weight, prior.seen.weight)
    assert torch.equal(loaded.seen.rows, prior.seen.rows)
    return loaded


SPACED = torch.arange(120) % 3 * 2
"""Labels 0, 2 and 4."""


@pytest.mark.parametrize("labels", [SPACED, None])
@pytest.mark.parametrize("spec", ["gmm:components=2", "gmm:covariance=full", "gmm:components=3,shrinkage=2"])
def test_a_mixture_whose_labels_were_counted(spec, labels):
    data = data_of(labels)
    prior = fitted_to(spec, data)
    loaded = assert_reads(spec, counted(prior.state_dict()), prior, data)
    assert torch.equal(loaded.count, prior.count)


@pytest.mark.parametrize("labels", [SPACED, None])
@pytest.mark.parametrize(
    ("options", "most_bytes", "law", "covariance"),
    [
        ("", 1 << 20, "averaged-gmm", None),
        (",distribution=averaged-gmm", 1 << 20, "averaged-gmm", None),
        (",components=3,latent_shrinkage=2,tol=0.1,max_iter=7", 1 << 20, "gmm", "full"),
        (",distribution=mixture", 1 << 20, "gmm", "full"),
        (",components=3", 1, "gmm", "diag"),
        (",distribution=gaussian", 1, "gaussian", None),
    ],
)
def test_a_subspace_whose_latents_had_no_name(options, most_bytes, law, covariance, labels, monkeypatch):
    """Which distribution it was followed from the names of its tensors."""
    monkeypatch.setattr(latent_gmm, "MOST_BYTES", most_bytes)
    data, spec = data_of(labels), f"latent-gmm:rank={RANK}{options}"
    prior = fitted_to(spec, data)
    state = renamed(prior.state_dict())
    state = counted(state, "latents.") if law == "gmm" else renamed(state, "latents.")
    for name in ("latents_spec", "given", "subspace.group", "subspace.rotation", "subspace.common"):
        del state[name]
    latents = assert_reads(spec, state, prior, data).latents
    assert (latents.name, getattr(latents, "covariance", None)) == (law, covariance)
    for option in ("components", "shrinkage", "tol", "max_iter") if law == "gmm" else ():
        assert getattr(latents, option) == getattr(prior.latents, option)
