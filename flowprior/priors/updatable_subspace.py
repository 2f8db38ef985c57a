"""Labels of ``latent-gmm`` that are added, learned anew or dropped.

Each label has a subspace and a law of the latents of its own where it has many examples and bases are not
shared. The rest stays as it was: the Gaussian of all data, which the null condition has, and how many rows a
component of the latents' law has, which the fit chose on all labels.
"""

from __future__ import annotations

import abc
from typing import cast

import torch
from torch import Tensor

from flowprior.data.stream import CheckedBatches
from flowprior.errors import InputError
from flowprior.priors.averaged_gmm import AveragedGmmPrior, packed
from flowprior.priors.base import Prior
from flowprior.priors.conditioned import ConditionedPrior
from flowprior.priors.few_examples import are_few
from flowprior.priors.gmm import GmmPrior
from flowprior.priors.subspace import Subspace
from flowprior.priors.subspace_prior import SubspacePrior
from flowprior.priors.updating import UpdatablePrior, spliced
from flowprior.registry import spec_of

TABLES = ("loc", "noise", "basis", "spread")


class UpdatableSubspace(UpdatablePrior, SubspacePrior, abc.ABC):
    """A subspace prior whose ``latents`` are a mixture of each label."""

    latents: Prior

    @property
    def _has_labels(self) -> bool:
        return self.condition.kind == "labels"

    def _labels(self) -> Tensor:
        return self.seen

    def _update(self, data: CheckedBatches, generator: torch.Generator | None) -> Tensor:
        if self.subspace.is_shared:
            raise InputError(f"{self.name}.update: labels share their bases; fit all of them again")
        fresh = cast("UpdatableSubspace", Prior.registry.resolve(spec_of(Prior.registry, self)))
        fresh._fit(data, generator)
        rank, labels = self.subspace.spread.shape[1], fresh.seen.long().cpu()
        if bool((few := are_few(fresh.seen_weight.double(), rank)).any()):
            raise InputError(
                f"{self.name}.update: label {int(labels[few.cpu()][0])} has few examples for {rank} latents, "
                "so it would be drawn to what all labels have in common; fit all of them again, or lower rank"
            )
        latents = _latents_with(self.latents, fresh.latents, labels, self.name)
        size = max(self.condition.size, fresh.condition.size)
        values = {
            name: spliced(getattr(self.subspace, name), getattr(fresh.subspace, name), labels, size, fill)
            for name, fill in zip(TABLES, (0.0, 1.0, 0.0, 1.0), strict=True)
        }
        self.subspace, self.latents = Subspace.of(self.subspace.loc, **values), latents
        if len(self.given):  # files from before labels were given anything have none
            self.given = spliced(self.given, fresh.given, labels, size)
        _remember(self, fresh, labels, size)
        return labels

    def _drop(self, labels: Tensor) -> None:
        left = ~torch.isin(self.seen.cpu(), labels).to(self.seen.device)
        self.seen, self.seen_weight = self.seen[left], self.seen_weight[left]


def _remember(prior: ConditionedPrior, fresh: ConditionedPrior, labels: Tensor, size: int) -> None:
    """Add the labels and their counts, in order."""
    others = ~torch.isin(prior.seen.cpu(), labels)
    seen = torch.cat([prior.seen.cpu()[others], labels])
    weight = torch.cat([prior.seen_weight.cpu()[others], fresh.seen_weight.cpu().to(prior.seen_weight.dtype)])
    order = seen.argsort()
    prior.seen = seen[order].to(prior.seen.device)
    prior.seen_weight = weight[order].to(prior.seen_weight.device)
    prior.condition_size = torch.stack([prior.condition_size[0], prior.condition_size.new_tensor(size)])


def _latents_with(latents: Prior, fresh: Prior, labels: Tensor, owner: str) -> Prior:
    """The law of the latents with those of ``labels`` from another one.

    Raises:
        InputError: laws of another kind.
    """
    if isinstance(latents, AveragedGmmPrior) and isinstance(fresh, AveragedGmmPrior):
        size = max(len(latents.logits), len(fresh.logits))
        fills = (-torch.inf, 0.0, packed(torch.eye(latents.loc.shape[-1])).to(latents.loc))
        for name, fill in zip(("logits", "loc", "factors"), fills, strict=True):
            table = spliced(getattr(latents, name), getattr(fresh, name), labels, size, fill, last=False)
            setattr(latents, name, table)
        _remember(latents, fresh, labels, size)
        return latents
    if isinstance(latents, GmmPrior) and isinstance(fresh, GmmPrior) and _alike(latents, fresh):
        latents.take(fresh, labels)
        return latents
    raise InputError(
        f"{owner}.update: the law of these labels' latents would be of another kind than the others'; fit "
        "all of them again, or name the law: law=mixture or law=averaged-gmm"
    )


def _alike(latents: GmmPrior, fresh: GmmPrior) -> bool:
    return latents.covariance == fresh.covariance and latents.is_conditional and fresh.is_conditional
