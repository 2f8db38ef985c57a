"""Coupling: the joint law of source sample, datum and condition (x0, x1, c) of a training batch."""

from __future__ import annotations

import abc
from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.errors import CouplingError, InputError
from flowprior.priors import Prior
from flowprior.registry import Registered, Registry
from flowprior.streams.batches import FitData


class Coupling(Registered, abc.ABC):
    """Base class of couplings.

    Training calls :meth:`pairs`, which calls :meth:`draw`; sampling starts at :meth:`source`. The two must
    agree in law, for each condition and averaged over the data; where they agree only in part the gap is
    measured (:func:`flowprior.couplings.source_mismatch`) and logged with every run.
    """

    registry: ClassVar[Registry[Any]] = Registry("coupling", "flowprior.couplings")
    pairs_at_random: ClassVar[bool] = False
    """x0 says nothing of x1 beyond its condition, which stochastic diffusion samplers rely on."""
    slope_is_of_pairs: ClassVar[bool] = True
    """:meth:`latent_slope`, where it is known, is that of the pairs, and no matter of scale alone."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Every coupling's :meth:`draw` checks what it is given first."""
        super().__init_subclass__(**options)
        if "draw" in vars(cls):
            cls.draw = _checked(cls.draw)

    @abc.abstractmethod
    def draw(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """One source sample x0 ``[B, *event]`` for each datum of x1 ``[B, *event]``, in the order of x1."""

    def pairs(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """(x0, x1), ``[B, *event]`` each, of a training batch under ``cond``; what training calls.

        Most couplings give each datum its source sample (:meth:`draw`) and leave the data alone. One that
        gives each source sample its datum returns other data of the same conditions.
        """
        return self.draw(prior, x1, cond, generator=generator), x1

    def pairs_of_new(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """(x0, x1), ``[B, *event]`` each, of data that no fit has seen, for a loss on held-out events."""
        return self.draw(prior, x1, cond, generator=generator), x1

    @property
    def is_fitted(self) -> bool:
        """Whether :meth:`pairs` can be called; a coupling is not saved with a flow, only its options are."""
        return True

    @property
    def can_pair(self) -> bool:
        """Whether all is here that pairs are made of; one that is read with a flow may lack some of it."""
        return True

    @property
    def own_prior(self) -> Prior | None:
        """The fitted prior that the pairs start from, which a run takes for its own; None for any."""
        return None

    def fit(self, prior: Prior, data: FitData, *, generator: torch.Generator | None = None) -> Self:
        """Learn from the whole data set what :meth:`pairs` needs; most couplings need nothing.

        ``train`` calls it once with the fitted prior, at every start, so it has to follow from its arguments
        alone.

        Args:
            prior: fitted.
            data: what ``Prior.fit`` takes.
            generator: source of the randomness, on the prior's device.
        """
        return self

    def source(
        self,
        prior: Prior,
        cond: Conditions | None,
        n: int | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Source samples x0 ``[B, *event]`` to sample from, one for each row of ``cond`` (or ``n``)."""
        return prior.sample(cond, n, generator=generator)

    def source_mean(self, prior: Prior, cond: Conditions | None, n: int) -> Tensor:
        """Mean ``[B, *event]`` of what :meth:`source` draws, which a sampler's temperature keeps.

        Raises:
            CouplingError: it is not known.
        """
        return prior.mean(cond, n)

    def source_deviation(self, prior: Prior, cond: Conditions | None, n: int) -> Tensor:
        """Mean of each source sample's condition less that of all conditions together, ``[B, *event]``.

        A sampler's prior guidance moves source samples along it.

        Raises:
            CouplingError: source samples have one mean for all conditions.
        """
        if cond is None or not prior.takes:
            raise CouplingError(
                f"{self.name}: the source samples of prior '{prior.name}' have one mean for all conditions; "
                "use prior_guidance=1 (--prior-guidance 1), or another prior"
            )
        mean = self.source_mean(prior, cond, n)
        return mean - prior.marginal_mean().to(mean)

    def source_log_prob(self, prior: Prior, x0: Tensor, cond: Conditions | None) -> Tensor:
        """Log-density ``[B]`` of the law that :meth:`source` draws from."""
        return prior.log_prob(x0, cond)

    def check(self, prior: Prior) -> None:
        """Raise CouplingError where ``prior`` cannot serve this coupling."""

    def latent_slope(self, spread: Tensor, given: Tensor | None = None) -> Tensor | None:
        """How x0 follows its datum in a prior's leading subspace: a ``[B, r]`` of h0 = a h1 + noise.

        Args:
            spread: λ ``[B, r]`` of :class:`flowprior.priors.frame.Frame`.
            given: share of the row's pairs that are the prior's own, ``[B, 1]``; left out where none are.

        Returns:
            The slopes, or None where they are not known before the pairs are drawn.
        """
        return None

    def _told(self) -> str:
        return "" if self.is_fitted else "not fitted"

    def draw_size(self, batch_size: int) -> int:
        """How many pairs to draw at once for training batches of ``batch_size``; a multiple of it."""
        return batch_size


def _checked(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a ``draw`` that refuses arguments in another order than prior, x1 and cond."""

    @wraps(draw)
    def checked(self: Coupling, prior: Prior, x1: Tensor, cond: Conditions | None, **options: Any) -> Tensor:
        if isinstance(prior, Tensor) or not isinstance(x1, Tensor):
            raise InputError(
                f"{self.name}.draw: expected a prior and a tensor of data, got {type(prior).__name__} and "
                f"{type(x1).__name__}; call draw(prior, x1, cond)"
            )
        return draw(self, prior, x1, cond, **options)

    return checked


class PairingCoupling(Coupling):
    """A coupling that re-pairs source samples and data inside a batch."""

    @abc.abstractmethod
    def pair(
        self, x0: Tensor, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Which x0 each datum starts at, ``[B]`` (int64), a permutation of them, mostly.

        x0[j] was drawn under ``cond[j]``; x1, cond and whatever rides along keep their order.
        """

    def draw(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        x0 = prior.sample(cond, len(x1), generator=generator)
        return x0[self.pair(x0, x1, cond, generator=generator)]
