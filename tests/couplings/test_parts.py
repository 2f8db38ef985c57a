"""Couplings under a condition of several parts: what `ot` pairs within, what weighs on its cost."""

from __future__ import annotations

import pytest
import torch

from flowprior.conditions import Parts, TokenStates
from flowprior.conditions.rows import equal
from flowprior.couplings import Coupling, source_mismatch
from flowprior.couplings.ot import OTCoupling
from flowprior.errors import CouplingError, InputError
from flowprior.priors import Prior

COUNT = 48


def batch() -> tuple[torch.Tensor, torch.Tensor, Parts]:
    generator = torch.Generator().manual_seed(0)
    x0, x1 = torch.randn(2, COUNT, 3, generator=generator)
    mask = torch.ones(COUNT, 2, dtype=torch.bool)
    words = TokenStates(torch.randn(COUNT, 2, 4, generator=generator), mask)
    cond = {"style": torch.arange(COUNT) % 3, "group": torch.arange(COUNT) // 12, "words": words}
    return x0, x1, Parts({**cond, "caption": torch.randn(COUNT, 4, generator=generator)})


def pair(cond: object, **options: object) -> torch.Tensor:
    x0, x1, _ = batch()
    return OTCoupling(**options).pair(x0, x1, cond)


def test_a_part_by_name_is_paired_as_that_tensor_alone():
    _, _, cond = batch()
    for name in ("style", "group", "caption"):
        expected = pair(cond[name])
        assert torch.equal(pair(cond, reads=name), expected)
        assert torch.equal(pair({name: cond[name]}), expected)
    assert torch.equal(pair(cond, condition="ignore"), pair(None))


def test_rows_are_paired_within_all_labels_and_by_the_embedding_there():
    _, _, cond = batch()
    permutation = pair(cond)
    assert permutation.sort().values.tolist() == list(range(COUNT))
    for name in ("style", "group"):
        assert torch.equal(cond[name][permutation], cond[name])
    both = pair(cond, reads="style+group")
    assert torch.equal(cond["style"][both], cond["style"])
    assert not torch.equal(both, permutation), "the embedding weighs on the cost"
    alone = pair(cond.only(("style", "caption")), kept_share=0.0)
    assert torch.equal(alone, torch.arange(COUNT)), "with no candidate beside its own, none is changed"


def test_token_states_count_by_their_mean():
    _, _, cond = batch()
    assert torch.equal(pair(cond["words"]), pair(cond["words"].means()))
    assert torch.equal(pair(cond, reads="words"), pair(cond["words"].means()))


@pytest.mark.parametrize(
    ("cond", "options", "message"),
    [
        (Parts({"sketch": torch.zeros(COUNT, 1, 2, 2, dtype=torch.long)}), {}, "or token states, got sketch"),
        (batch()[2], {"reads": "size"}, r"reads='size' names no part 'size'; there are caption, group"),
        (batch()[2]["style"], {"reads": "style"}, r"reads='style' .* there are no parts in this condition"),
        (batch()[2][:4], {}, "expected one condition for each of 48 rows, got 4"),
    ],
)
def test_what_it_cannot_read_is_refused(cond, options, message):
    with pytest.raises((CouplingError, InputError), match=message):
        pair(cond, **options)


@pytest.mark.parametrize("name", [name for name in Coupling.available() if name != "given"])
def test_every_coupling_draws_under_parts_what_it_draws_under_the_part(name):
    _, x1, cond = batch()
    spec = "kernel-mean" if name == "leave-one-out" else "gmm:covariance=lowrank,rank=1"
    prior = Prior.create(spec).fit((x1, cond["style"]))
    coupling, parts = Coupling.create(name), Parts({"style": cond["style"]})

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(1)

    def both(call):
        return torch.equal(call(cond["style"], seeded()), call(parts, seeded()))

    assert both(lambda c, generator: coupling.draw(prior, x1, c, generator=generator))
    assert both(lambda c, generator: coupling.source(prior, c, generator=generator))
    x0 = coupling.source(prior, parts, generator=seeded())
    densities = [coupling.source_log_prob(prior, x0, c) for c in (parts, cond["style"])]
    assert equal(*densities)
    gaps = [
        source_mismatch(coupling, prior, x1, c, generator=seeded(), permutations=5)
        for c in (cond["style"], parts)
    ]
    assert gaps[0] == gaps[1]
    assert gaps[0].conditions == 3
