"""A Gaussian mixture for each condition: the prior of the paper (arXiv 2502.09611, section 4).

p0(x0 | c) = Σ_k π_ck N(x0; μ_ck, Σ_ck), fitted to the data of each class. With one component it is
the paper's class prior: mean and (co)variance of each class.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.errors import CheckpointError, InputError, OptionError
from flowprior.mixtures.covariance import FitSettings
from flowprior.mixtures.em import fit_mixture
from flowprior.mixtures.families import COVARIANCES, Full, LowRank, covariance_family
from flowprior.mixtures.grouped import by_group, times_table
from flowprior.mixtures.moments import ConditionMoments
from flowprior.ops import gmm_log_prob
from flowprior.ops.gmm_log_prob import gmm_log_prob_all
from flowprior.ops.gmm_sample import draw_component, draw_rows
from flowprior.ops.last_results import LastResults
from flowprior.ops.mixture import lowrank_posterior_sample, select_component
from flowprior.ops.operators import normal, uniform
from flowprior.priors.base import Prior
from flowprior.priors.checks import check_examples, check_fit_labels, explaining_degenerate, named
from flowprior.priors.seen_conditions import UNSEEN, SeenConditions
from flowprior.registry import check_counts
from flowprior.registry.options import choose
from flowprior.registry.registry import spec_of
from flowprior.streams.batches import CheckedBatches

OWNER = "prior 'gmm'"
FULL_BYTES_LIMIT = 8 << 30


@Prior.register("gmm", aliases=("mixture",))
class GmmPrior(Prior):
    """A Gaussian mixture for each condition (the paper's prior; one component: mean and variance).

    Conditions are labels, or None for one mixture of all the data. A prior fitted without a
    condition ignores the condition it is asked for.

    Args:
        components: K, number of components of each condition.
        covariance: ``"diag"``, ``"spherical"``, ``"full"``, ``"tied"`` (one full matrix a condition) or
            ``"lowrank"`` (diagonal plus rank r).
        rank: r of ``"lowrank"``, cut to the number of dimensions.
        reg_covar: added to the diagonal of every covariance, as in scikit-learn.
        shrinkage: how many examples' worth of the pooled moments are added to each component, so that
            a condition with 0, 1 or 2 examples still has a usable prior; without it, one example alone gives
            near-copies of itself, and a warning. ``"full"`` and ``"tied"`` take the
            pooled covariance, the others its diagonal.
        unseen: ``"raise"``, or ``"pooled"`` to start labels that fit did not see from the marginal source; a
            flow takes them for its null condition.
        conditions: number of conditions, where the highest labels may have no example.
        tol: EM stops for a condition when its mean log-likelihood gains less.
        max_iter: EM passes at the most.
        keep_moments: keeps the moments of each condition, for :func:`flowprior.priors.merge` and
            :func:`flowprior.priors.drop`: 16 bytes a dimension, or 8 a pair of dimensions under ``"full"``
            and ``"tied"``. Of one component, and not under ``"lowrank"``.
    """

    takes = ("labels",)
    kept_mean: Tensor
    kept_scatter: Tensor

    def __init__(
        self,
        components: int = 1,
        covariance: str = "diag",
        rank: int = 32,
        reg_covar: float = 1e-6,
        shrinkage: float = 0.0,
        unseen: str = "raise",
        conditions: int | None = None,
        tol: float = 1e-3,
        max_iter: int = 100,
        keep_moments: bool = False,
    ) -> None:
        super().__init__(SeenConditions(choose(OWNER, "unseen", unseen, UNSEEN)))
        check_counts(OWNER, components=components, rank=rank, max_iter=max_iter)
        check_counts(OWNER, conditions=1 if conditions is None else conditions)
        for option, number in (("reg_covar", reg_covar), ("shrinkage", shrinkage), ("tol", tol)):
            if not isinstance(number, int | float) or not 0 <= number < float("inf"):
                raise OptionError(f"{OWNER}: expected {option} to be a finite number >= 0, got {number!r}")
        self.components = components
        self.covariance = choose(OWNER, "covariance", covariance, COVARIANCES)
        self.rank = rank
        self.reg_covar = reg_covar
        self.shrinkage = shrinkage
        self.unseen = unseen
        self.conditions = conditions
        self.tol = tol
        self.max_iter = max_iter
        self.family = covariance_family(covariance, rank)
        self.has_latents = components > 1 or self.family.rank > 0  # the component, and the factor z
        self.keep_moments = keep_moments
        if keep_moments and (components > 1 or self.family.rank):
            raise OptionError(
                f"{OWNER}: keep_moments=true is for one component, and not for 'lowrank', which moments do "
                "not determine; leave it out"
            )
        for name in ("kept_mean", "kept_scatter") if keep_moments else ():
            self.register_buffer(name, torch.empty(0, dtype=torch.float64))
        self.logits = nn.Buffer(torch.empty(0))
        self.loc = nn.Buffer(torch.empty(0))
        for name in self.family.parameters:
            self.register_buffer(name, torch.empty(0))
        self._scales = LastResults()
        self.speaker = "gmm"  # whose name warnings carry; another one's where this prior is a part of it

    @property
    def count(self) -> Tensor:
        """The number of examples of each label, float64 ``[C]``; empty for a prior fitted without labels."""
        return self.seen.counts

    # -- fit ----------------------------------------------------------------------------------

    def _fit(self, data: CheckedBatches, generator: torch.Generator | None) -> None:
        first, cond = data.peek()
        other = "'learned-mean', pictures 'learned-mean:covariance=diagonal'"
        check_fit_labels("gmm", cond, f"embeddings need the prior {other}")
        dim = first[0].numel()
        needed = dim * dim * 8 * self.components
        if self.family.full_moments and needed > FULL_BYTES_LIMIT:
            raise OptionError(
                f"{OWNER}: covariance={self.covariance!r} in {dim} dimensions takes {needed / 2**30:.0f} GiB "
                f"for each condition; use covariance='lowrank'"
            )
        full = self.family.full_moments
        moments = ConditionMoments.over(data.labelled(), self.conditions or 0, full=full)
        self._learn(data, moments, generator)

    def _learn(
        self, data: CheckedBatches, moments: ConditionMoments, generator: torch.Generator | None
    ) -> None:
        """Everything from the moments, and from passes over the data where there are components."""
        first, cond = data.peek()
        if self.conditions is not None and len(moments.count) > self.conditions:
            raise InputError(
                f"gmm.fit: labels reach {len(moments.count) - 1}, expected 0..{self.conditions - 1}; "
                f"raise conditions= or drop those rows"
            )
        check_examples(self.speaker, moments.count, self.components, self.shrinkage, named=cond is not None)
        settings = FitSettings(self.reg_covar, self.shrinkage, generator)
        limits = {"tol": self.tol, "max_iter": self.max_iter}
        with explaining_degenerate("gmm", self.reg_covar):
            mixture = fit_mixture(data, moments, self.family, self.components, settings=settings, **limits)
            if not bool((self.family.spread(mixture.covariance).to(first) > 0).all()):
                raise torch.linalg.LinAlgError("a component has no spread")
        self.seen.learn_labels(moments, first, cond, absent=self.shrinkage > 0)
        tables = {"logits": mixture.logits, "loc": mixture.mean, **mixture.covariance}
        for name, table in tables.items():
            setattr(self, name, table.to(first))
        if self.keep_moments:
            self.kept_mean = moments.mean.to(self.loc.device, copy=True)
            self.kept_scatter = moments.scatter.to(self.loc.device, copy=True)

    # -- moments ------------------------------------------------------------------------------

    def moments(self) -> ConditionMoments:
        """A copy of the moments of each condition; only with ``keep_moments``."""
        moments = ConditionMoments(self.loc.shape[-1], len(self.count), full=self.family.full_moments)
        moments.count.copy_(self.count)
        moments.mean.copy_(self.kept_mean)
        moments.scatter.copy_(self.kept_scatter)
        return moments

    @torch.no_grad()
    def with_moments(self, moments: ConditionMoments) -> GmmPrior:
        """A prior of the same options, of one component, that is fitted to the ``moments`` of labels."""
        found = copy.deepcopy(self)
        row = self.loc.new_zeros(1, self.loc.shape[-1]), torch.zeros(1, dtype=torch.long)
        found._learn(CheckedBatches([row], self.name), moments, None)
        found.fitted_to = ""
        return found

    # -- use ----------------------------------------------------------------------------------

    def _sample(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor:
        rows = self._rows(cond, n)
        if self._has_axes:
            return draw_rows(*self._mixture(self.loc.dtype), rows, generator)[0]
        return self._place(rows, draw_component(self.logits, rows, generator), *self._noise(n, generator))

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        rows = self._rows(cond, len(x))
        if self._has_axes:
            return gmm_log_prob(x, *self._mixture(x.dtype), rows)[0]
        return self._joint(x, rows).logsumexp(1)

    def _mean(self, cond: Tensor | None, n: int) -> Tensor:
        means = (self.logits.softmax(1)[..., None] * self.loc).sum(1)
        return means[self._rows(cond, n)]

    def _responsibilities(self, x: Tensor, rows: Tensor) -> Tensor:
        """Return p(k | x, c) ``[B, K]``."""
        if self._has_axes:
            return gmm_log_prob(x, *self._mixture(x.dtype), rows)[1]
        return self._joint(x, rows).softmax(1)

    def _infer(self, x1: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Component k ~ p(k | x1, c), factor z ~ p(z | x1, k, c), then x0 ~ p(x0 | k, z, c)."""
        rows = self._rows(cond, len(x1))
        component = torch.zeros_like(rows)
        if self.components > 1:
            share = self._responsibilities(x1, rows)
            component = select_component(share.log(), uniform(len(x1), share.device, generator))
        if self._has_axes:
            # Each of the given components is a mixture of one to the operator.
            _, mean, scale = (table.flatten(0, 1)[:, None] for table in self._mixture(self.loc.dtype))
            certain = torch.zeros_like(mean[:, :, 0])
            place = rows * self.components + component
            return draw_rows(certain, mean, scale, place, generator)[0]
        epsilon, z = self._noise(len(x1), generator)
        if self.family.rank:
            tables = tuple(self.get_buffer(name).flatten(0, 1) for name in ("loc", "factor", "noise"))
            place = rows * self.components + component
            z = by_group(
                lambda mean, factor, noise, x, xi: lowrank_posterior_sample(x, mean, factor, noise, xi),
                place,
                tables,
                x1.to(z.dtype),
                z,
            )
        return self._place(rows, component, epsilon, z)

    def _log_prob_marginal(self, x: Tensor) -> Tensor:
        """Take all labels in one operator, where the components have axes."""
        if not self._has_axes or not self.seen.has_labels:
            return super()._log_prob_marginal(x)
        densities = gmm_log_prob_all(x, *(table[self.seen.rows] for table in self._mixture(x.dtype)))[0]
        share = self.seen.weight / self.seen.weight.sum()
        return (share.log().to(x.dtype) + densities).logsumexp(1)

    # -- parameter tables ---------------------------------------------------------------------

    def _rows(self, cond: Tensor | None, n: int) -> Tensor:
        return torch.zeros(n, dtype=torch.long, device=self.loc.device) if cond is None else cond

    @property
    def _has_axes(self) -> bool:
        """True if the components are independent along the axes, as the mixture operators take them."""
        return self.covariance in ("diag", "spherical")

    def _mixture(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Logits ``[C, K]``, means and standard deviations of components along the axes."""
        scale = self._scales.of(torch.sqrt, self.get_buffer("var"))
        return self.logits.to(dtype), self.loc.to(dtype), scale.to(dtype)

    def _noise(self, n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Draw ε ``[n, D]`` and z ``[n, rank]``."""
        rank = self.get_buffer("factor").shape[-1] if self.family.rank else 0
        epsilon = normal(n, self.loc.shape[-1], like=self.loc, generator=generator)
        return epsilon, normal(n, rank, like=self.loc, generator=generator)

    def _place(self, rows: Tensor, component: Tensor, epsilon: Tensor, z: Tensor) -> Tensor:
        if isinstance(self.family, Full):
            factors = self.get_buffer("cholesky")
            place = rows * factors.shape[1] + component.clamp_max(factors.shape[1] - 1)
            return self.loc[rows, component] + times_table(epsilon, place, factors.flatten(0, 1).mT)
        along = times_table(z, rows * self.components + component, self.get_buffer("factor").flatten(0, 1).mT)
        return self.loc[rows, component] + along + self.get_buffer("noise")[rows, component].sqrt() * epsilon

    def _joint(self, x: Tensor, rows: Tensor) -> Tensor:
        """log π_k + log N(x; μ_k, Σ_k) ``[B, K]``, in x's dtype."""
        family = self.family
        assert isinstance(family, Full | LowRank)

        def density(logits: Tensor, mean: Tensor, *given: Tensor) -> Tensor:
            *parameters, own = given
            covariance = dict(zip(family.parameters, parameters, strict=True))
            return family.log_density(own, mean, covariance) + logits[..., None, :]

        tables = (self.logits, self.loc, *map(self.get_buffer, family.parameters))
        return by_group(density, rows, tables, x)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Refuse a checkpoint with another number of components, which the tables' shapes would hide."""
        saved = state_dict.get(prefix + "logits")
        if saved is not None and saved.dim() == 2 and saved.shape[1] != self.components:
            raise CheckpointError(
                f"{OWNER}: the checkpoint has components={saved.shape[1]}, this prior components="
                f"{self.components}; create it with the options it was saved with"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def merge(first: Prior, second: Prior) -> GmmPrior:
    """Return the prior that a fit to the data of both priors would give; both stay as they are.

    A network that was trained with one of them has not seen the labels of the other.

    Args:
        first: a ``gmm`` fitted to events ``[*event]`` and labels with ``keep_moments=true``.
        second: one of the same options and event shape; its labels may be new or those of ``first``.

    Raises:
        InputError: priors that keep no moments of labels, or are not alike.
    """
    one, other = _keeping(first, "merge"), _keeping(second, "merge")
    kinds = [f"{spec_of(Prior.registry, each)} of events {list(each.event_shape)}" for each in (one, other)]
    if kinds[0] != kinds[1]:
        raise InputError(
            f"merge: expected two priors of the same options and events, got {' and '.join(kinds)}"
        )
    moments = one.moments()
    moments.merge(other.moments())
    return one.with_moments(moments)


def drop(prior: Prior, labels: Iterable[int] | Tensor) -> GmmPrior:
    """Return the prior that a fit without the rows of ``labels`` would give; ``prior`` stays as it is.

    Args:
        prior: a ``gmm`` fitted to labels with ``keep_moments=true``.
        labels: those that are dropped, ``[n]``; they are then like labels that the fit did not see.

    Raises:
        InputError: a prior that keeps no moments of labels, a label that it does not have, or none left.
    """
    kept = _keeping(prior, "drop")
    moments, chosen = kept.moments(), torch.as_tensor(list(labels), dtype=torch.long).unique()
    known = moments.count.nonzero()[:, 0]
    unknown = chosen[~torch.isin(chosen, known)]
    if len(unknown):
        raise InputError(f"drop: {named(unknown.tolist())} not among those that were fitted")
    if len(chosen) == len(known):
        raise InputError("drop: no label would be left; keep one, or fit a new prior")
    for table in (moments.count, moments.mean, moments.scatter):
        table[chosen] = 0
    return kept.with_moments(moments)


def _keeping(prior: Prior, owner: str) -> GmmPrior:
    """``prior``, where it keeps moments of labels."""
    if not isinstance(prior, GmmPrior) or not prior.keep_moments or not prior.seen.has_labels:
        raise InputError(
            f"{owner}: expected a prior 'gmm' that was fitted to labels with keep_moments=true, got {prior}; "
            "fit it so, or fit a prior to all data"
        )
    return prior
