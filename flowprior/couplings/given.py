"""Source samples that the data set gives, one with each data sample."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.couplings.base import Coupling
from flowprior.display.shown import shape_of
from flowprior.errors import CouplingError, InputError, OptionError
from flowprior.priors import Prior
from flowprior.streams.data import Data


@Coupling.register("given")
class GivenCoupling(Coupling):
    """The source sample that the data set gives with each data sample.

    Pairs of a trained flow, a source sample and what the flow carries it to, make one round of rectification
    (Liu et al. 2022, arXiv 2209.03003, section 3; one round is enough: Lee et al. 2024, arXiv 2405.20320).

    Args:
        origin: name of the coupling that draws such source samples. Sampling starts at its source, and a
            network is shown its law.
    """

    takes_sources: ClassVar[bool] = True

    def __init__(self, origin: str = "condot") -> None:
        if Coupling.record(origin).factory is GivenCoupling:
            raise OptionError("coupling 'given': origin=given is itself; name another coupling")
        self.origin = origin

    @property
    def first(self) -> Coupling:
        return Coupling.create(self.origin)

    def check(self, prior: Prior) -> None:
        self.first.check(prior)

    def sources(self, data: Data, indices: Tensor) -> dict[str, Tensor]:
        """Return the source samples that the data give as ``x0``.

        Raises:
            CouplingError: they give none.
        """
        if (x0 := data.sources(indices)) is None:
            raise CouplingError(
                f"coupling 'given': expected source samples beside the data samples of {data.name}, got "
                "none; add an array x0, or choose another coupling"
            )
        return {"x0": x0}

    def draw(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Refuse: no data sample tells its source sample.

        Raises:
            CouplingError: always.
        """
        raise CouplingError(
            "coupling 'given': expected source samples beside the data, got none; pass x0, as in "
            "train((x1, cond, x0), coupling='given'), or an array x0 in the file"
        )

    def pairs(
        self,
        prior: Prior,
        x1: Tensor,
        cond: Conditions | None,
        *,
        x0: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return (x0, x1) as they are given.

        Raises:
            CouplingError: there is no x0.
            InputError: x0 of another shape than x1.
        """
        if x0 is None:
            return self.draw(prior, x1, cond, generator=generator), x1
        if x0.shape != x1.shape:
            raise InputError(
                f"coupling 'given': expected source samples of shape {shape_of(x1.shape)}, got "
                f"{shape_of(x0.shape)}"
            )
        return x0.to(x1), x1

    pairs_of_new = pairs

    def source(
        self,
        prior: Prior,
        cond: Conditions | None,
        n: int | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        return self.first.source(prior, cond, n, generator=generator)

    def source_mean(self, prior: Prior, cond: Conditions | None, n: int) -> Tensor:
        return self.first.source_mean(prior, cond, n)

    def source_log_prob(self, prior: Prior, x0: Tensor, cond: Conditions | None) -> Tensor:
        return self.first.source_log_prob(prior, x0, cond)
