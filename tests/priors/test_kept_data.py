"""What leaves with a prior: moments and centres, but no training data unless an option asks for it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from flowprior.mixtures.em import guarded_centres
from flowprior.priors import Prior
from flowprior.priors.seen_conditions import BEHIND, CENTRES
from tests.given_mean import prior_of
from tests.priors.captions import captions

SMALL = {
    "empirical": {"keep": True},
    "flow": {"steps": 2, "hidden": 8, "transforms": 2, "rank": 4},
    "gaussian": {"moments": "diagonal"},
    "gmm": {"components": 2},
    "latent-gmm": {"rank": 6},
    "learned-mean": {"epochs": 2, "hidden": 8, "depth": 1},
    "vae": {"steps": 2, "width": 2, "latent": 3, "components": 2},
}
ROWS = 160
EXACT = 1e-3
"""The largest difference of a number from the one that is looked for, in standard deviations."""
TENSOR = (1, 2, 3)
EVERY_KIND = [
    (name, kind) for name in Prior.available() for kind in Prior.create(name).takes or ("labels", "none")
]
OF_CENTRES = ("seen.rows", "seen.weight", "seen.spread")


def verbatim(tensors: Iterable[Tensor], rows: Tensor) -> int:
    """Return how many of ``rows`` ``[n, W]`` lie in some tensor, in W numbers one after the other."""
    rows = rows.double()
    found = torch.zeros(len(rows), dtype=torch.bool)
    for tensor in tensors:
        for flat in {tensor.numel(): tensor.flatten(), -1: tensor.movedim(0, -1).flatten()}.values():
            found |= _in_flat(flat.double(), rows)
    return int(found.sum())


def _in_flat(flat: Tensor, rows: Tensor) -> Tensor:
    found, width = torch.zeros(len(rows), dtype=torch.bool), rows.shape[1]
    if len(flat) < width:
        return found
    windows, least = flat.unfold(0, width, 1), EXACT * float(rows.std())
    row, place = ((windows[:, 0] - rows[:, :1]).abs() < least).nonzero(as_tuple=True)
    same = ((windows[place] - rows[row]).abs() < least).all(1)
    found[row[same]] = True
    return found


def data(rows: int, kind: str, seed: int = 1) -> tuple[Tensor, Tensor | None]:
    """Skewed points [6] that follow skewed embeddings [5] of which none occurs twice, and conditions."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(rows, 5, generator=generator).exp() * torch.tensor([1.0, 0.8, 0.6, 0.5, 0.4])
    turned = torch.randn(5, 6, generator=torch.Generator().manual_seed(5))
    noise = torch.randn(rows, 6, generator=generator).square()
    x = (embeddings @ turned).sin() + 0.5 * noise * torch.linspace(1, 0.5, 6)
    conditions = {
        "none": None,
        "labels": torch.arange(rows) % 4,
        "embeddings": embeddings,
        "tensor": torch.cat([embeddings, embeddings.prod(1, keepdim=True)], 1).view(rows, *TENSOR),
    }
    return x, conditions[kind]


@cache
def fitted(name: str, kind: str, rows: int = ROWS) -> Prior:
    generator = torch.Generator().manual_seed(0)
    prior = prior_of(name, (6,), **SMALL.get(name, {}))
    return prior.fit(data(rows, kind), generator=generator)


def tensors_of(prior: Prior) -> list[Tensor]:
    """All that the prior keeps, and all that it writes."""
    with TemporaryDirectory() as folder:
        prior.save(folder)
        (file,) = Path(folder).glob("*.safetensors")
        saved = load_file(file)
    state = prior.state_dict()
    assert saved.keys() <= state.keys()
    assert all(torch.equal(value, state[name]) for name, value in saved.items())
    return [value for value in state.values() if value.is_floating_point()]


def found_in(prior: Prior, kind: str) -> dict[str, int]:
    """How many training samples and conditions the search finds in the prior."""
    x, cond = data(ROWS, kind)
    kept, found = tensors_of(prior), {}
    searched = {"samples": x}
    if cond is not None and cond.is_floating_point():
        searched["conditions"] = cond.flatten(1)
    for what, rows in searched.items():
        standard = (rows - rows.mean(0)) / rows.std(0)
        found |= {what: verbatim(kept, rows), f"{what}, scaled": verbatim(kept, standard)}
    return found


def test_the_search_finds_rows_that_are_kept_and_no_others():
    x, others = data(ROWS, "none")[0], data(ROWS, "none", seed=2)[0]
    shuffled = x[torch.randperm(ROWS, generator=torch.Generator().manual_seed(3))]
    for kept in (shuffled, torch.cat([torch.zeros(7), shuffled.flatten()]), shuffled.T.contiguous()):
        assert (verbatim([kept], x), verbatim([kept], others)) == (ROWS, 0)


@pytest.mark.parametrize(("name", "kind"), EVERY_KIND)
def test_no_sample_and_no_condition_is_found_in_a_prior(name: str, kind: str) -> None:
    found = found_in(fitted(name, kind), kind)
    if name == "kernel-mean" and kind in ("embeddings", "tensor"):
        assert max(found["conditions"], found["conditions, scaled"]) == ROWS
        assert "160 training conditions" in fitted(name, kind).kept_data
    elif name == "empirical":
        assert found["samples"] == ROWS
        assert fitted(name, kind).kept_data == "160 source samples"
    else:
        assert fitted(name, kind).kept_data == ""
        assert not any(found.values()), found


@pytest.mark.parametrize(("name", "kind"), EVERY_KIND)
def test_twice_the_rows_make_the_state_no_larger_but_for_centres(name: str, kind: str) -> None:
    prior, other = fitted(name, kind), fitted(name, kind, 2 * ROWS)
    if other.kept_data:
        return
    for key, value in other.state_dict().items():
        if key.endswith(OF_CENTRES):
            assert len(value) <= CENTRES
        else:
            assert value.shape == prior.state_dict()[key].shape, key


def test_each_centre_is_of_eight_embeddings_that_differ_by_more_than_rounding():
    generator = torch.Generator().manual_seed(0)
    apart = torch.randn(40, 5, generator=generator)
    rows = apart.repeat(12, 1)
    rows = rows + 1e-7 * torch.randn(rows.shape, generator=generator)
    centres, owner = guarded_centres(rows, CENTRES, BEHIND)
    assert 1 < len(centres) <= 5
    for place, centre in enumerate(centres):
        behind = (owner == place).nonzero()[:, 0] % 40
        assert len(behind.unique()) >= BEHIND
        torch.testing.assert_close(centre, apart[behind.unique()].mean(0), rtol=0, atol=1e-5)
    assert verbatim([centres], apart) == 0
    assert len(guarded_centres(rows, 3, BEHIND)[0]) <= 3
    assert [len(part) for part in guarded_centres(apart[:7].repeat(9, 1), CENTRES, BEHIND)] == [0, 0]


def test_a_prior_of_before_there_were_centres_loads_with_a_warning():
    options = {**SMALL["learned-mean"], "sigma": "scalar"}
    x, cond = captions(120, 1)
    own = Prior.create("learned-mean", **options).fit((x, cond))
    own.seen.rows = cond.unique(dim=0)[:108]
    own.seen.weight, own.seen.spread = torch.ones(108), torch.empty(0)
    old = {key: value for key, value in own.state_dict().items() if not key.startswith("seen.")}
    old |= {"condition_size": own.seen.size, "known": own.seen.rows}
    old |= {"seen": cond, "seen_weight": torch.ones(len(cond))}
    prior = Prior.create("learned-mean", **options)
    with pytest.warns(RuntimeWarning, match=r"older version saved it, with 108 training conditions"):
        prior.load_state_dict(old)
    assert prior.kept_data == "108 training conditions"
    assert torch.equal(prior.log_prob(x, cond), own.log_prob(x, cond))
    assert torch.isfinite(prior.log_prob_marginal(x)).all()


def test_the_marginal_source_of_tensors_is_a_gaussian_of_the_moments_of_source_samples(generator):
    prior, (x, cond) = fitted("learned-mean", "tensor"), data(ROWS, "tensor")
    assert cond is not None
    drawn = prior.sample(cond.repeat(20, 1, 1, 1), generator=generator)
    null = prior.sample(torch.zeros(3000, *TENSOR), generator=generator)
    for other in (null, prior.sample_marginal(3000, generator=generator)):
        torch.testing.assert_close(other.mean(0), drawn.mean(0), rtol=0, atol=0.25 * float(drawn.std()))
        torch.testing.assert_close(other.std(0), drawn.std(0), rtol=0.2, atol=0)
    law = torch.distributions.Normal(prior.seen.pooled[0], prior.seen.pooled[1].sqrt())
    torch.testing.assert_close(prior.log_prob_marginal(x), law.log_prob(x).sum(1))
    torch.testing.assert_close(prior.marginal_mean(), prior.seen.pooled[0])
