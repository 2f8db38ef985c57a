"""The coupling ``ot``: permutations, conditions, sizes, errors."""

from __future__ import annotations

import ot
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowprior.couplings import Coupling, transport_cost
from flowprior.couplings.ot import CONDITIONS, METHODS, OTCoupling
from flowprior.couplings.plans import SOLVERS
from flowprior.errors import CouplingError, OptionError
from flowprior.priors import Prior

KINDS = ("none", "labels", "embeddings")


def condition(kind: str, n: int, classes: int, generator: torch.Generator) -> torch.Tensor | None:
    if kind == "none":
        return None
    if kind == "labels":
        return torch.randint(0, classes, (n,), generator=generator)
    return torch.randn(classes, 3, generator=generator)[torch.randint(0, classes, (n,), generator=generator)]


@given(
    n=st.integers(1, 30),
    classes=st.integers(1, 6),
    seed=st.integers(0, 1000),
    method=st.sampled_from(METHODS),
    solver=st.sampled_from(SOLVERS),
    mode=st.sampled_from(CONDITIONS),
    kind=st.sampled_from(KINDS),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    event=st.sampled_from([(1,), (5,), (2, 3, 3)]),
)
def test_pair_is_always_a_permutation(
    n: int,
    classes: int,
    seed: int,
    method: str,
    solver: str,
    mode: str,
    kind: str,
    dtype: torch.dtype,
    event: tuple[int, ...],
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.randn(n, *event, generator=generator).to(dtype)
    x1 = (torch.randn(n, *event, generator=generator) + 1).to(dtype)
    cond = condition(kind, n, classes, generator)
    # a generous regularisation: whether a hard problem converges is another test's business
    coupling = OTCoupling(method=method, condition=mode, reg=0.5, solver=solver)
    permutation = coupling.pair(x0, x1, cond, generator=generator)
    assert permutation.dtype == torch.long
    assert sorted(permutation.tolist()) == list(range(n))
    if cond is not None and (mode == "within" or (mode == "auto" and kind == "labels")):
        torch.testing.assert_close(cond[permutation], cond)


def test_auto_is_within_for_labels_weighted_for_embeddings_everything_for_none(
    generator: torch.Generator,
) -> None:
    x0, x1 = torch.randn(2, 50, 3, generator=generator)
    labels, embeddings = condition("labels", 50, 4, generator), torch.randn(50, 2, generator=generator)
    auto = OTCoupling()
    for cond, mode in ((labels, "within"), (embeddings, "weighted"), (None, "ignore")):
        expected = OTCoupling(condition=mode).pair(x0, x1, cond)
        torch.testing.assert_close(auto.pair(x0, x1, cond), expected)
    different = OTCoupling(condition="ignore").pair(x0, x1, labels)
    assert not torch.equal(auto.pair(x0, x1, labels), different)


def test_within_is_the_exact_optimum_of_every_class(generator: torch.Generator) -> None:
    x0, x1 = torch.randn(2, 60, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (60,), generator=generator)
    paired = x0[OTCoupling(condition="within").pair(x0, x1, labels)]
    for label in range(3):
        rows = labels == label
        best = float(ot.emd2([], [], ot.dist(x1[rows].numpy(), x0[rows].numpy())))
        assert float(transport_cost(paired[rows], x1[rows])) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_pairing_is_reproducible_from_the_generator_alone(method: str) -> None:
    x0, x1 = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0))
    coupling = OTCoupling(method=method, reg=0.2)
    torch.manual_seed(0)
    first = coupling.pair(x0, x1, None, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(99)
    torch.testing.assert_close(first, coupling.pair(x0, x1, None, generator=torch.Generator().manual_seed(1)))


def test_draw_keeps_the_order_of_the_data() -> None:
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)).double()
    labels = torch.arange(60) % 3
    prior = Prior.create("gmm").fit((x + 10 * labels[:, None], labels))
    x0 = OTCoupling().draw(prior, x, labels, generator=torch.Generator().manual_seed(1))
    nearest = (x0.mean(1, keepdim=True) / 10 - torch.arange(3)).abs().argmin(1)
    torch.testing.assert_close(nearest, labels)
    drawn = prior.sample(labels, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(x0.flatten().sort().values, drawn.flatten().sort().values)


@pytest.mark.parametrize(
    ("ot_batch", "batch", "expected"),
    [(None, 256, 256), (1024, 256, 1024), (1000, 256, 1024), (10, 256, 256)],
)
def test_draw_size_is_a_multiple_of_the_batch(ot_batch: int | None, batch: int, expected: int) -> None:
    assert OTCoupling(ot_batch=ot_batch).draw_size(batch) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"method": "emd"},
        {"condition": "between"},
        {"reg": 0.0},
        {"reg_m": -1.0},
        {"mass": 0.0},
        {"mass": 1.5},
        {"kept_share": -0.1},
        {"ot_batch": 0},
    ],
)
def test_impossible_options(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=f"ot.*{next(iter(options))}"):
        Coupling.create("ot", **options)


def test_batches_that_do_not_fit() -> None:
    x = torch.zeros(4, 2)
    with pytest.raises(CouplingError, match=r"of one shape .* \[3, 2\] and \[4, 2\]"):
        OTCoupling().pair(x[:3], x, None)
    with pytest.raises(CouplingError, match="one condition for each of 4 rows, got 3"):
        OTCoupling().pair(x, x, torch.zeros(3, dtype=torch.long))


@pytest.mark.parametrize("method", METHODS)
def test_identical_points_are_paired_somehow_and_none_by_an_empty_permutation(method: str) -> None:
    x, labels = torch.ones(6, 3), torch.zeros(6, dtype=torch.long)
    for cond in (None, labels):
        assert sorted(OTCoupling(method=method).pair(x, x, cond).tolist()) == list(range(6))
    for cond in (None, labels[:0]):
        assert OTCoupling(method=method).pair(x[:0], x[:0], cond).tolist() == []
