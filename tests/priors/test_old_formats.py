"""States as older versions wrote them, made from those of today, are read as priors of the same densities."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowprior.priors import Prior, latent_gmm
from flowprior.priors.old_formats import RENAMED

DIM, RANK = 5, 2
NAMES = {new: old for old, new in RENAMED.items() if old not in ("table.conditions", "table.count")}
"""The name of a tensor of ``seen`` now -> its name then."""


def data_of(labels: Tensor | None, n: int = 120) -> tuple[Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(5)
    mixed = torch.randn(n, DIM, generator=generator) @ torch.randn(DIM, DIM, generator=generator)
    return mixed if labels is None else mixed + labels[:, None], labels


def fitted(spec: str, data: tuple[Tensor, Tensor | None]) -> Prior:
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
    prior = fitted(spec, data)
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
    prior = fitted(spec, data)
    state = renamed(prior.state_dict())
    state = counted(state, "latents.") if law == "gmm" else renamed(state, "latents.")
    for name in ("latents_spec", "given", "subspace.group", "subspace.rotation", "subspace.common"):
        del state[name]
    latents = assert_reads(spec, state, prior, data).latents
    assert (latents.name, getattr(latents, "covariance", None)) == (law, covariance)
    for option in ("components", "shrinkage", "tol", "max_iter") if law == "gmm" else ():
        assert getattr(latents, option) == getattr(prior.latents, option)
