"""Priors with latent variables that are inferred from a data sample, and priors without a data sample."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.errors import InputError
from flowprior.priors.asked import check_finite
from flowprior.priors.base import Prior
from flowprior.priors.frame import DiagonalFrame, Frame, latent_noise
from flowprior.streams.batches import Batch


class LatentPrior(Prior, abc.ABC):
    """Base class of priors p0(x0 | c) = ∫ p0(x0 | h, c) p(h | c) dh that know p(h | x, c), too.

    The coupling ``posterior`` pairs by it. Subclasses implement :meth:`_infer` besides what every prior does.
    """

    @property
    def has_latents(self) -> bool:
        """True if there is a latent variable with these options; a mixture of one component has none."""
        return True

    def inferred_slope(self, frame: Frame | DiagonalFrame, cond: Tensor | None) -> Tensor:
        """Return the covariance ``[B, r]`` of h0 and h1 in the pairs of :meth:`infer` and :meth:`smoothed`.

        Args:
            frame: :meth:`spread` of the rows.
            cond: the condition of the rows.
        """
        return latent_noise(frame.spread)[0]

    def infer(
        self,
        x1: Tensor,
        cond: Conditions | Mapping[str, Any] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw x0 ``[B, *event]`` from the latents inferred from x1: h ~ p(h | x1, c), x0 ~ p0(x0 | h, c).

        Args:
            x1: data ``[B, *event]``.
            cond: labels ``[B]``, embeddings ``[B, E]``, named parts, or None.
            generator: source of the randomness.

        Raises:
            NotFittedError: the prior was not fitted.
            InputError: the prior has no latent variables (see :attr:`has_latents`), or x1 is not finite.
        """
        self._require_fitted("infer")
        if not self.has_latents:
            raise InputError(
                f"{self.name}.infer: this prior has no latent variables to infer from a datum; "
                "use the coupling 'condot', or a prior with components, a low-rank factor or a latent z"
            )
        rows, read = self._rows_asked(x1, cond, "infer")
        check_finite(x1, f"{self.name}.infer")
        return self._infer(rows, read, generator).reshape(x1.shape)

    def smoothed(
        self,
        x0: Tensor,
        x1: Tensor,
        cond: Conditions | Mapping[str, Any] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Put the prior's own pairs in the place of some of (x0, x1), where conditions have few examples.

        Args:
            x0: source samples ``[B, *event]``, inferred from x1.
            x1: data ``[B, *event]``.
            cond: as of :meth:`infer`.
            generator: source of the randomness; nothing is drawn where no condition has few examples.

        Returns:
            (x0, x1); those that were given where every condition has enough examples.
        """
        return x0, x1

    @abc.abstractmethod
    def _infer(self, x1: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """x0 ``[B, D]`` for rows x1 ``[B, D]``."""


class LeaveOneOutPrior(Prior, abc.ABC):
    """Base class of priors p0(x0 | c) that know p0(x0 | c) without any one datum x1 of their own.

    It is the mean that is without the datum; the spread, which is of all data, may stay. The coupling
    ``leave-one-out`` draws from it. Subclasses implement :meth:`_sample_without` besides what
    every prior does.
    """

    def sample_without(
        self,
        x1: Tensor,
        cond: Conditions | Mapping[str, Any] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw x0 ``[B, *event]``, each from the prior without its datum; of null conditions as usual.

        Args:
            x1: data ``[B, *event]`` that the prior was fitted to. It does not look whether it was: others
                are taken out of a mean that they are not in.
            cond: their labels ``[B]``, embeddings ``[B, E]``, named parts, or None.
            generator: source of the randomness.

        Raises:
            NotFittedError: the prior was not fitted.
            InputError: x1 is not finite or of another event shape, or the condition is not that of the fit.
        """
        rows, read = self._rows_asked(x1, cond, "sample_without")
        check_finite(x1, f"{self.name}.sample_without")
        if read is None:
            raise InputError(f"{self.name}.sample_without: expected the condition of each datum, got None")
        x0 = self._sample_without(rows, read, generator)
        null = self._null_rows(read)
        if null is not None:
            x0[null] = self._sample_any(read[null], int(null.sum()), generator)
        return x0.reshape(len(x1), *self.event_shape)

    @abc.abstractmethod
    def _sample_without(self, x1: Tensor, cond: Tensor, generator: torch.Generator | None) -> Tensor:
        """x0 ``[B, D]`` for rows x1 ``[B, D]``."""


class InferredLatents:
    """The data of a fit as latents inferred from them, one for each datum, to fit the latents' own law to.

    Every pass yields the same ones.

    Args:
        data: batches (x ``[B, D]``, condition).
        infer: from x, its condition and a generator to latents ``[B, r]`` and the condition of their law.
        seed: of the generator, at the beginning of each pass.
        more: latents that no datum has, which come last.
    """

    def __init__(
        self,
        data: Iterable[Batch],
        infer: Callable[[Tensor, Tensor | None, torch.Generator], Batch],
        seed: int,
        more: Sequence[Batch] = (),
    ) -> None:
        self.data, self.infer, self.seed, self.more = data, infer, seed, more

    @torch.no_grad()
    def __iter__(self) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(self.seed)
        for x, cond in self.data:
            yield self.infer(x, cond, generator)
        yield from self.more


def latents_of(prior: Prior) -> LatentPrior | None:
    """``prior`` as one whose latents can be inferred from a datum, or None where it has none."""
    return prior if isinstance(prior, LatentPrior) and prior.has_latents else None
