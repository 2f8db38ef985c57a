"""Compare numbers of components: what do too few and too many do to a prior?

    python -m benchmarks.studies.component_counts

Of labels with 1 to 16 known modes the held-out log-density of mixtures with half, as many and twice as many
components. Of digits, whose modes nobody knows, the log-density and the memorisation of mixtures with 1 to 64
components.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor

from benchmarks.studies import RESULTS, Row, everything, fit_prior, own_run, rows_of
from benchmarks.studies.digits import BALANCED, split
from flowprior.metrics.memorisation import memorisation_ratio
from flowprior.ops.mixture import LOG_2PI
from flowprior.priors import Prior
from flowprior.study.table import write_results

TRUE = (1, 2, 3, 4, 6, 8, 12, 16)
SEEDS = 20
DIMENSIONS = (2, 16)
ROWS = 1250
"""Of each law; a fifth is held out."""
APART = 4.5
"""Least distance of two modes; their standard deviations are 0.5 to 1."""
OF_DIGITS = (1, 2, 4, 8, 16, 32, 64)
DIGITS_FLOOR = 0.01
"""``reg_covar`` on digits."""


def known_modes(count: int, dim: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Means ``[K, D]``, standard deviations ``[K, D]`` and weights ``[K]`` of Gaussians that lie apart."""
    random = torch.Generator().manual_seed(1000 * count + seed)
    side = 3.5 * count**0.5 if dim == 2 else 4.0
    means: list[Tensor] = []
    while len(means) < count:
        mean = side * (2 * torch.rand(dim, generator=random) - 1)
        if all(float((mean - other).norm()) > APART for other in means):
            means.append(mean)
    weight = 0.5 + torch.rand(count, generator=random)
    return torch.stack(means), 0.5 + 0.5 * torch.rand(count, dim, generator=random), weight / weight.sum()


def drawn(count: int, dim: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rows ``[ROWS, D]`` of such a law, and the law's own log-density of each."""
    mean, spread, weight = known_modes(count, dim, seed)
    random = torch.Generator().manual_seed(7 + 1000 * count + seed)
    k = torch.multinomial(weight, ROWS, replacement=True, generator=random)
    x = mean[k] + spread[k] * torch.randn(ROWS, dim, generator=random)
    square = ((x[:, None] - mean) / spread).square().sum(2)
    density = weight.log() - 0.5 * (square + dim * LOG_2PI) - spread.log().sum(1)
    return x, density.logsumexp(1)


def of_known_modes(count: int, dim: int, seed: int) -> dict[str, float]:
    """Nats a dimension that mixtures lose to the true density on held-out rows, by their components."""
    x, true = drawn(count, dim, seed)
    held_out = len(x) // 5
    known, new = x[held_out:], x[:held_out]
    found = {}
    for name, components in (("half", max(count // 2, 1)), ("true", count), ("twice", 2 * count)):
        prior = Prior.create("gmm", components=components)
        prior.fit(known, generator=torch.Generator().manual_seed(seed))
        loss = true[:held_out].mean() - prior.log_prob(new).mean()
        found[f"loss-{name}"] = float(loss) / dim
    return found


def of_digits(components: int) -> dict[str, float]:
    """Held-out log-density a dimension of a diagonal mixture, and the ratio of its draws' nearest distances.

    The ratio is about 1 for pictures that are new, and 0 for copies of training pictures.
    """
    data = split("train")
    prior = fit_prior(f"gmm:components={components},reg_covar={DIGITS_FLOOR}", data, 0)
    drawn = prior.sample(BALANCED, generator=torch.Generator().manual_seed(0))
    x, labels = everything(split("test"))
    ratio = memorisation_ratio(drawn, x, (batch for batch, _ in data.batches()))
    density = prior.log_prob(x, labels).double().mean() / x[0].numel()
    return {"log_density": float(density), "memorisation": ratio}


def runs() -> Iterator[list[Row]]:
    """The rows of each law with known modes, and of each mixture on digits."""
    for dim in DIMENSIONS:
        for count in TRUE:
            rows = [
                row for seed in range(SEEDS) for row in rows_of(of_known_modes(count, dim, seed), seed=seed)
            ]
            setting = {"data": "known-modes", "dim": dim, "modes": count}
            yield own_run(f"component-counts/{dim}-{count}", setting, rows)
    for components in OF_DIGITS:
        setting = {"data": "digits", "components": components, "seed": 0}
        yield own_run(f"component-counts/digits-{components}", setting, rows_of(of_digits(components)))


def main() -> None:
    """Write the table of the study."""
    write_results(RESULTS / "component_counts.csv.gz", chain.from_iterable(runs()))


if __name__ == "__main__":
    main()
