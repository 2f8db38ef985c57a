"""Coupling: the joint distribution of source sample, data sample and condition (x0, x1, c) of a batch."""

from __future__ import annotations

import abc
from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.couplings.pair_law import PairLaw
from flowprior.errors import InputError, OptionError
from flowprior.priors import Prior
from flowprior.registry import Registered, Registry
from flowprior.streams.batches import FitData
from flowprior.streams.data import Data


class Coupling(Registered, abc.ABC):
    """Base class of couplings.

    Training calls :meth:`pairs`, which calls :meth:`draw`; sampling starts at :meth:`source`. The two must
    agree in distribution, for each condition and averaged over the data; where they agree only in part the
    source mismatch is measured (:func:`flowprior.couplings.source_mismatch`) and logged with every run.
    """

    registry: ClassVar[Registry[Any]] = Registry("coupling", "flowprior.couplings")
    pairs_at_random: ClassVar[bool] = False
    """True if x0 is independent of x1 given the condition, which stochastic diffusion samplers rely on."""
    takes_sources: ClassVar[bool] = False
    """True if :meth:`pairs` and :meth:`pairs_of_new` take ``x0``, the source samples that the data give."""

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
        """True if :meth:`pairs` can be called; a coupling is not saved with a flow, only its options are."""
        return True

    @property
    def first(self) -> Coupling:
        """The coupling that says where sampling starts, and whose law a network is shown: mostly itself."""
        return self

    def fit(self, prior: Prior, data: FitData, *, generator: torch.Generator | None = None) -> Self:
        """Learn from the whole data set what :meth:`pairs` needs; most couplings need nothing.

        ``train`` calls it once with the fitted prior, at every start, so it has to follow from its arguments
        alone.

        Args:
            prior: fitted.
            data: what ``Prior.fit`` takes.
            generator: source of the randomness, on the prior's device.

        Raises:
            NotFittedError: what pairs are made of is missing, as of a coupling that was read with a flow.
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
        """Return the mean ``[B, *event]`` of what :meth:`source` draws, which a sampler's temperature keeps.

        Raises:
            CouplingError: it is not known.
        """
        return prior.mean(cond, n)

    def source_log_prob(self, prior: Prior, x0: Tensor, cond: Conditions | None) -> Tensor:
        """Log-density ``[B]`` of the distribution that :meth:`source` draws from."""
        return prior.log_prob(x0, cond)

    def sources(self, data: Data, indices: Tensor) -> dict[str, Tensor]:
        """Return what :meth:`pairs` takes beside x1: ``x0`` of ``indices`` where :attr:`takes_sources`."""
        return {}

    def check(self, prior: Prior) -> None:
        """Raise CouplingError where ``prior`` cannot serve this coupling."""

    def has_law(self, prior: Prior) -> bool:
        """Return whether :meth:`law` is known, which the options of coupling and ``prior`` decide."""
        return False

    def law(self, prior: Prior, cond: Conditions | None, n: int | None = None) -> PairLaw | None:
        """Return the Gaussian law of the pairs given their conditions; None where :meth:`has_law` is False.

        Args:
            prior: fitted.
            cond: one condition for each pair; null conditions have the law of all data together.
            n: the number of pairs, where ``cond`` does not say.
        """
        return None

    def require_law(self, prior: Prior, what: str, instead: str) -> None:
        """Refuse a prior and coupling whose pairs have no known law.

        Args:
            prior: fitted or not.
            what: names in the message what needs the law.
            instead: names there what does without.

        Raises:
            OptionError: it says what to use instead.
        """
        if not self.has_law(prior):
            raise OptionError(
                f"{what} needs the Gaussian law of the pairs, which is not known of prior '{prior.name}' "
                f"with coupling '{self.name}'; use prior latent-gmm or flow with coupling posterior or "
                f"condot, kernel-mean or learned-mean with condot, or {instead}"
            )

    def _status(self) -> str:
        return "" if self.is_fitted else "not fitted"

    def draw_size(self, batch_size: int) -> int:
        """Return the number of pairs to draw at once for batches of ``batch_size``, a multiple of it."""
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
        """Return the x0 that each data sample starts at, ``[B]`` (int64), mostly a permutation.

        x0[j] was drawn under ``cond[j]``; x1, cond and whatever rides along keep their order.
        """

    def draw(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        x0 = prior.sample(cond, len(x1), generator=generator)
        return x0[self.pair(x0, x1, cond, generator=generator)]
