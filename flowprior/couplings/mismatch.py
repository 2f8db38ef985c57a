"""The source mismatch: how far source samples of training are from those that sampling will use."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.conditions.rows import label_groups
from flowprior.couplings.base import Coupling
from flowprior.couplings.costs import squared_distances
from flowprior.errors import InputError
from flowprior.mixtures.grouped import rows_of_each
from flowprior.priors import Prior


@dataclass(frozen=True)
class SourceMismatch:
    """Two-sample comparison of source samples of training X and of sampling Y, within conditions.

    Attributes:
        energy: 2E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖, the energy distance (Székely & Rizzo 2013), ≥ 0; in
            units of the events.
        coefficient: energy / (2E‖X − Y‖), in [0, 1]; 0 where the distributions agree, about 1/n by chance
            alone.
        p_value: share of random relabellings with at least this energy; below 0.01 the distributions differ.
        samples: number n of source samples on each side.
        conditions: number of conditions they were compared within; 1 where they were pooled.
        permutations: number of relabellings behind ``p_value``.
    """

    energy: float
    coefficient: float
    p_value: float
    samples: int
    conditions: int
    permutations: int

    def as_dict(self) -> dict[str, float | int]:
        """Return the numbers by name, for a log."""
        return asdict(self)


def source_mismatch(
    coupling: Coupling,
    prior: Prior,
    x1: Tensor,
    cond: Conditions | None,
    *,
    generator: torch.Generator | None = None,
    permutations: int = 200,
    x0: Tensor | None = None,
) -> SourceMismatch:
    """Compare the source samples of ``coupling.pairs`` and of ``coupling.source`` under the same conditions.

    Args:
        coupling: what pairs source samples with data.
        prior: fitted.
        x1: data ``[B, *event]``; 500 to 2,000 of them are a good choice, memory grows with B².
        cond: labels are compared label by label (of several parts each combination), anything else pooled: a
            mismatch that depends on an embedding and averages out over the data does not show.
        generator: source of both draws and of the relabellings.
        permutations: relabellings for the p-value, which cannot be below 1 / (permutations + 1).
        x0: ``[B, *event]``, of a coupling that takes the source samples of the data.

    Raises:
        InputError: no data, or no permutation.
        CouplingError: the prior cannot serve the coupling, or the pairing failed.
    """
    if len(x1) == 0 or permutations < 1:
        raise InputError(
            f"source_mismatch: expected data and permutations, got {len(x1)} rows and "
            f"permutations={permutations}"
        )
    given = {} if x0 is None else {"x0": x0}
    if coupling.is_fitted:
        drawn, _ = coupling.pairs(prior, x1, cond, generator=generator, **given)
    else:
        drawn = coupling.draw(prior, x1, cond, generator=generator)
    sampled = coupling.source(prior, cond, len(x1), generator=generator)
    return compare_samples(drawn, sampled, cond, generator=generator, permutations=permutations)


def compare_samples(
    drawn: Tensor,
    sampled: Tensor,
    cond: Conditions | None,
    *,
    generator: torch.Generator | None = None,
    permutations: int = 200,
) -> SourceMismatch:
    """Compare samples that are drawn already, both ``[n, *event]`` and under the same ``cond``."""
    x, y = drawn.detach().flatten(1).double(), sampled.detach().flatten(1).double()
    n = len(x)
    energies = torch.zeros(permutations + 1, dtype=torch.float64)
    cross, conditions = 0.0, 0
    labels = label_groups(cond)
    keys = torch.zeros(n, dtype=torch.long) if labels is None else labels.cpu()
    for _, rows in rows_of_each(keys):
        a, b = x[rows], y[rows]
        distances = squared_distances(torch.cat([a, b]), torch.cat([a, b])).fill_diagonal_(0.0).sqrt_()
        cross += 2.0 * float(distances[: len(a), len(a) :].sum()) / len(a) / n
        signs = _relabellings(len(a), permutations, generator).to(distances)
        energies += ((signs @ distances) * signs).sum(1).cpu() / (-len(a) * n)
        conditions += 1
    energy = max(float(energies[0]), 0.0)
    exceed = int((energies[1:] >= energies[0] * (1.0 - 1e-9)).sum())
    return SourceMismatch(
        energy=energy,
        coefficient=energy / cross if cross > 0 else 0.0,
        p_value=(exceed + 1) / (permutations + 1),
        samples=n,
        conditions=conditions,
        permutations=permutations,
    )


def _relabellings(n: int, permutations: int, generator: torch.Generator | None) -> Tensor:
    """Return signs ``[permutations + 1, 2n]``, n of +1 (drawn) and n of −1 in each; the true row first."""
    device = generator.device if generator is not None else torch.device("cpu")
    noise = torch.rand(permutations + 1, 2 * n, generator=generator, device=device, dtype=torch.float64)
    order = noise.argsort(1)
    order[0] = torch.arange(2 * n, device=device)
    return torch.where(order < n, 1.0, -1.0).double()
