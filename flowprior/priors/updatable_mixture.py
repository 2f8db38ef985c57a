"""What a mixture of each label keeps and does so that labels can be added, updated and dropped.

With one component a Gaussian follows from count, mean and scatter, which join exactly (Chan, Golub & LeVeque
1979): where they are kept, further examples lead to what a fit to all of them leads to. Without them, and
with several components, labels are fitted anew to their own examples, and take the place of the old ones.
"""

from __future__ import annotations

import abc
from typing import cast

import torch
from torch import Tensor

from flowprior.data.stream import CheckedBatches
from flowprior.errors import InputError, OptionError
from flowprior.mixtures import Covariance
from flowprior.mixtures.moments import ConditionMoments
from flowprior.priors.base import Prior
from flowprior.priors.updating import UpdatablePrior, spliced
from flowprior.registry import spec_of

MOST_BYTES = 8 << 30
"""Of the moments of all labels."""


class UpdatableMixture(UpdatablePrior, abc.ABC):
    """The tables of a mixture, with the pooled Gaussian in their last row, as far as changes touch them."""

    logits: Tensor
    loc: Tensor
    count: Tensor
    kept_mean: Tensor
    kept_scatter: Tensor
    components: int
    shrinkage: float
    keep_moments: bool
    family: Covariance

    @abc.abstractmethod
    def _learn(
        self, data: CheckedBatches, moments: ConditionMoments, generator: torch.Generator | None
    ) -> None:
        """Everything from the moments, and from passes over the data where there are components."""

    def _may_keep(self, keep_moments: bool) -> None:
        """Have a place for moments, if they are wanted.

        Raises:
            OptionError: moments do not tell the law.
        """
        self.keep_moments = keep_moments
        if keep_moments and (self.components > 1 or self.family.rank):
            raise OptionError(
                f"prior '{self.name}': keep_moments=true is for one component, and not for 'lowrank', which "
                "moments do not tell; leave it out, and give update all examples of the labels that it is for"
            )
        for name in ("kept_mean", "kept_scatter") if keep_moments else ():
            self.register_buffer(name, torch.empty(0, dtype=torch.float64))

    def _keep(self, moments: ConditionMoments) -> None:
        """Keep these moments.

        Raises:
            OptionError: they are too large.
        """
        needed = 8 * (moments.mean.numel() + moments.scatter.numel())
        if needed > MOST_BYTES:
            raise OptionError(
                f"prior '{self.name}': keep_moments=true takes {needed / 2**30:.0f} GiB for "
                f"{len(moments.count)} labels; leave it out, or take covariance='diag'"
            )
        self.kept_mean = moments.mean.to(self.loc.device, copy=True)
        self.kept_scatter = moments.scatter.to(self.loc.device, copy=True)

    @property
    def _has_labels(self) -> bool:
        return self.is_conditional

    def _labels(self) -> Tensor:
        return (self.count > 0).nonzero()[:, 0]

    def _update(self, data: CheckedBatches, generator: torch.Generator | None) -> Tensor:
        if self.keep_moments:
            moments = self._kept()
            before = moments.count.clone()
            for x, labels in data.labelled():
                moments.update(x, labels)
            self._learn(data, moments, generator)
            grown = moments.count.clone()
            grown[: len(before)] -= before
            return grown.nonzero()[:, 0]
        if self.shrinkage > 0:
            raise InputError(
                f"{self.name}.update: with shrinkage the moments of all data are in every label; fit with "
                "keep_moments=true to update, or fit again"
            )
        fresh = cast("UpdatableMixture", Prior.registry.resolve(spec_of(Prior.registry, self)))
        fresh._fit(data, generator)
        labels = fresh._labels()
        self.take(fresh, labels)
        return labels

    def take(self, fresh: UpdatableMixture, labels: Tensor) -> None:
        """Put the mixtures of ``labels`` ``[m]`` of another prior, of the same options, beside the others."""
        size = max(len(self.count), len(fresh.count))
        for name in ("logits", "loc", *self.family.parameters):
            setattr(self, name, spliced(self.get_buffer(name), fresh.get_buffer(name), labels, size))
        self.count = torch.cat([self.count, self.count.new_zeros(size - len(self.count))])
        self.count[labels] = fresh.count[labels].to(self.count)

    def _drop(self, labels: Tensor) -> None:
        if not self.keep_moments and self.shrinkage > 0:
            raise InputError(
                f"{self.name}.drop: with shrinkage these labels are in the moments that all are drawn to; "
                "fit with keep_moments=true to drop labels, or fit again"
            )
        self.count[labels.to(self.count.device)] = 0
        if self.keep_moments:
            moments = self._kept()
            moments.scatter[labels], moments.mean[labels] = 0, 0
            row = self.loc.new_zeros(1, self.loc.shape[-1]), labels.new_zeros(1)  # whose type is asked alone
            self._learn(CheckedBatches([row], self.name), moments, None)

    def _kept(self) -> ConditionMoments:
        moments = ConditionMoments(self.loc.shape[-1], len(self.count), full=self.family.full_moments)
        moments.count.copy_(self.count)
        moments.mean.copy_(self.kept_mean)
        moments.scatter.copy_(self.kept_scatter)
        return moments
