"""Which couplings draw each source sample under the condition of its datum, as a trained prior needs."""

from __future__ import annotations

import pytest
import torch

from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.priors import Prior

NONE, LABELS, EMBEDDINGS = Condition(), Condition("labels", 3), Condition("embeddings", 2)
PARTS = Condition("parts", parts=(("kind", LABELS), ("caption", EMBEDDINGS)))
KEPT = {
    "condot": (NONE, LABELS, EMBEDDINGS, PARTS),
    "posterior": (NONE, LABELS, EMBEDDINGS, PARTS),
    "independent": (NONE,),
    "ot": (NONE, LABELS),
    "ot:condition=within": (NONE, LABELS, EMBEDDINGS),
    "ot:condition=ignore": (NONE,),
    "ot:condition=weighted": (NONE,),
    "semidiscrete": (),
    "leave-one-out": (),
    "reflow": (),
}


@pytest.mark.parametrize("coupling", KEPT)
def test_which_of_them_do(coupling: str) -> None:
    built = Coupling.registry.resolve(coupling)
    for condition in (NONE, LABELS, EMBEDDINGS, PARTS):
        assert built.keeps_conditions(condition) == (condition in KEPT[coupling]), condition


def test_every_coupling_says_so() -> None:
    assert set(Coupling.available()) <= {name.partition(":")[0] for name in KEPT}


@pytest.mark.parametrize("coupling", ["condot", "ot", "ot:condition=within", "posterior"])
def test_those_that_do_draw_near_the_mean_of_the_datums_own_condition(coupling: str) -> None:
    labels = torch.arange(60) % 3
    x1 = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)) + 100.0 * labels[:, None]
    prior = Prior.create("latent-gmm", rank=1).fit((x1, labels))
    x0 = Coupling.registry.resolve(coupling).draw(prior, x1, labels)
    assert float((x0 - 100.0 * labels[:, None]).abs().max()) < 20
