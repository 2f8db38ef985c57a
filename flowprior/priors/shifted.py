"""A prior moved by a shift or a scale of each condition that is trained with the flow.

    x0 = m(c) + s(c) + a(c) (y − m(c)),   y ~ q(y | c),

with q a prior that was fitted before, m its mean, and a = 1 unless asked for. s and log a are zero at first.
Their gradient is that of the flow-matching loss, through x_t and u_t alike. With q = N(0, I) this is the
shift of the source in CAR-Flow's condition-aware reparameterisation (arXiv 2509.19300).

**What a shift can do.** On every path it moves x_t by σ s(c) and u by σ' s(c), so that the variance of u
given x_t and c is what it was. The least loss that any network could reach is the same for all shifts: none
makes the loss small in a trivial way, and what a shift can gain is that the network learns the rest sooner.
A prediction that takes the moments of the pairs off (:mod:`flowprior.flow.pair_moments`) takes σ s and σ' s
off, too. Nothing would hold a shift there, and it is not trained (``shift=False``).

**Why a scale has to be held.** The smaller the source, the less of x0 is in u = x1 − x0, and at a = 0 every
x_t gives its x1 away. The loss is then 0, and the flow begins at a single point, from which no velocity
leads to all data. So a is one number a condition, between 1/2 and 2, and the loss has the term

    ½ (a² − 1 − log a²),

the divergence KL(x0 ‖ y) a dimension, their means apart, where q is a Gaussian: the variance term of CSFM
(arXiv 2602.05951), whose source is held to N(0, I). Its second term draws the mean to the direction of the
data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Condition, Conditions, as_value
from flowprior.data.stream import CheckedBatches
from flowprior.errors import OptionError
from flowprior.priors.base import Prior, event_rows
from flowprior.priors.condition_numbers import make_numbers
from flowprior.priors.conditioned import OF_THE_MARGINAL, ConditionedPrior, condition_of
from flowprior.priors.frame import Frame, TellsMoments
from flowprior.priors.latent import LatentPrior, latents_of
from flowprior.priors.trained import TrainedPrior
from flowprior.registry import check_counts, check_numbers

OWNER = "prior 'shifted'"
MOST_LOG_SCALE = math.log(2)
"""The scale stays between 1/2 and 2."""
SHORTEST_MEAN = 0.1
"""Of the datum's length: the direction of a shorter mean counts as that of one so long, times its share."""


@Prior.register("shifted")
class ShiftedPrior(ConditionedPrior, LatentPrior, TrainedPrior):
    """Another prior, moved by a shift or scale of each condition that is trained with the flow (CAR-Flow).

    The other prior is fitted as it is by itself. Labels have numbers of their own, embeddings a network
    that gives them. Couplings that pair across conditions cannot train it.

    Args:
        prior: that is moved: a name, or a spec with ``;`` between its options, as in
            ``shifted:prior=gmm:components=8;covariance=lowrank``.
        shift: whether a shift is trained. Predictions that take moments off, such as those of the default,
            need it to be false.
        scale: whether a scale of the deviation from the mean is trained, one number a condition.
        variance: weight of the term of the loss that holds the scale.
        align: weight of the term 1 − cos(mean of the condition, datum), which draws the mean to the
            direction of the data; 0 for none.
        rate: learning rate, as a multiple of the network's.
        hidden: width of the network that embeddings need.
        depth: its residual blocks.
        reads: name of the part of a condition that is read; empty for the only one that can be.
    """

    def __init__(
        self,
        prior: str = "gaussian",
        shift: bool = True,
        scale: bool = False,
        variance: float = 0.1,
        align: float = 0.0,
        rate: float = 10.0,
        hidden: int = 256,
        depth: int = 2,
        reads: str = "",
    ) -> None:
        super().__init__()
        check_numbers(OWNER, variance=(variance, 0, 1e12), align=(align, 0, 1e12), rate=(rate, 0, 1e6))
        check_counts(OWNER, hidden=hidden)
        check_counts(OWNER, 0, depth=depth)
        if not (shift or scale):
            raise OptionError(f"{OWNER}: expected something to train, got shift=False and scale=False")
        if align and not shift:
            raise OptionError(f"{OWNER}: align={align:g} draws a shift, and none is trained; use shift=true")
        self.prior = prior
        self.shift = shift
        self.scale = scale
        self.variance = variance
        self.align = align
        self.rate = rate
        self.hidden = hidden
        self.depth = depth
        self.inner: Prior = Prior.registry.resolve(prior.replace(";", ","))
        if isinstance(self.inner, TrainedPrior):
            raise OptionError(f"{OWNER}: expected a prior that is not trained itself, got prior={prior}")
        self.reads = self.inner.reads = reads
        self.unseen = self.inner.unseen
        self.trained = None

    # -- what it shares with the other prior ----------------------------------------------------

    @property
    def fixed(self) -> Prior:
        return self.inner

    @property
    def trains_mean(self) -> bool:
        return self.shift

    @property
    def is_narrow(self) -> bool:
        return self.inner.is_narrow

    @property
    def has_latents(self) -> bool:
        return self.inner.has_latents

    @property
    def fits_latents(self) -> bool:
        latents = latents_of(self.inner)
        return latents is not None and latents.fits_latents

    @property
    def smooths(self) -> bool:
        latents = latents_of(self.inner)
        return latents is not None and latents.smooths

    @property
    def tells_moments(self) -> bool:
        return isinstance(self.inner, TellsMoments) and self.inner.tells_moments

    def frame(self, cond: Tensor | None, n: int) -> Frame | None:
        frame = self.inner.frame(cond, n) if isinstance(self.inner, TellsMoments) else None
        if frame is None:
            return None
        shift, scale = self._move(cond, n)
        if scale is None:
            return replace(frame, offset=shift)
        centre = self._centre(cond, n)
        return replace(frame, offset=(centre + shift) / scale - centre, scale=scale)

    def _check_shape(self, part: Tensor, method: str) -> None:
        self.inner._check_shape(part, method)

    # -- fit ----------------------------------------------------------------------------------

    def _fit(self, data: CheckedBatches, generator: torch.Generator | None) -> None:
        first, _ = data.peek()
        self.inner._fit(data, generator)  # first, so that it is what it would be by itself
        self.inner.event_dims = torch.tensor(first.shape[1:], device=self.event_dims.device)
        self.inner._fit_marginal(data)
        self.inner.forget_mean_of_all()
        self._learn_conditions(data, generator)
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        self._build(self.condition, first[0].numel(), first.dtype, generator)

    def _build(
        self, condition: Condition, dim: int, dtype: torch.dtype, generator: torch.Generator | None = None
    ) -> None:
        numbers = dim * self.shift + self.scale
        built = make_numbers(condition, numbers, self.hidden, self.depth, generator)
        self.trained = built.to(self.event_dims.device, dtype)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Build what is trained at the checkpoint's sizes: an unfitted prior has none."""
        start = prefix + "trained."
        saved = {key.removeprefix(start): value for key, value in state_dict.items() if key.startswith(start)}
        own = {} if self.trained is None else self.trained.state_dict()
        if saved and {k: v.shape for k, v in saved.items()} != {k: v.shape for k, v in own.items()}:
            size, event = state_dict[prefix + "condition_size"], state_dict[prefix + "event_dims"]
            dtype = next(iter(saved.values())).dtype
            self._build(condition_of(size), int(event.prod()), dtype)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    # -- use ----------------------------------------------------------------------------------

    def moved(self, x0: Tensor, cond: Conditions | Mapping[str, Any] | None = None) -> Tensor:
        self._require_fitted("moved")
        given: Conditions | None = as_value(cond)
        return self._moved(event_rows(x0), self.reading(given, "moved")).view_as(x0)

    def loss(self, x1: Tensor, cond: Conditions | Mapping[str, Any] | None = None) -> Tensor:
        """The terms for scale and direction of a batch, with their weights, a scalar.

        Args:
            x1: data ``[B, *event]``.
            cond: of each row; it is not checked.
        """
        self._require_fitted("loss")
        given: Conditions | None = as_value(cond)
        read, rows = self.reading(given, "loss"), event_rows(x1)
        shift, scale = self._move(read, len(rows))
        total = shift.new_zeros(())
        if scale is not None:
            total = total + self.variance * spread_from_fit(scale)
        if self.align:
            total = total + self.align * direction_off(self._centre(read, len(rows)) + shift, rows)
        return total

    def marginal_mean(self) -> Tensor:
        self.forget_mean_of_all()  # it moves while it is trained
        return super().marginal_mean()

    @torch.no_grad()
    def measures(self) -> dict[str, float]:
        """Root mean square of the shift, ``prior_shift``, and mean ``prior_scale``, over seen conditions."""
        seen = None if self.condition.kind == "none" else self.seen[:OF_THE_MARGINAL]
        seen = self._zeros(1) if self._is_pooled else seen
        shift, scale = self._move(seen, 1 if seen is None else len(seen))
        found = {"prior_shift": float(shift.square().mean().sqrt())} if self.shift else {}
        return found if scale is None else {**found, "prior_scale": float(scale.mean())}

    def _rsample(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor:
        return self._moved(self.inner.sample(cond, n, generator=generator).flatten(1), cond)

    @torch.no_grad()
    def _sample(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor:
        return self._rsample(cond, n, generator)

    @torch.no_grad()
    def _mean(self, cond: Tensor | None, n: int) -> Tensor:
        return self._centre(cond, n) + self._move(cond, n)[0]

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        before = self._unmoved(x, cond)
        found = self.inner.log_prob(before.view(len(x), *self.event_shape), cond)
        scale = self._move(cond, len(x))[1]
        return found if scale is None else found - x.shape[1] * scale[:, 0].log().to(found)

    @torch.no_grad()
    def _infer(self, x1: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """The other prior's source sample with latents inferred from x1, moved.

        The latents are those of the prior that was fitted to the data, so that their law over the data is
        what it is there, whatever the shift.
        """
        latents, event = latents_of(self.inner), (len(x1), *self.event_shape)
        assert latents is not None
        return self._moved(latents.infer(x1.view(event), cond, generator=generator).flatten(1), cond)

    @torch.no_grad()
    def _smoothed(
        self, x0: Tensor, x1: Tensor, cond: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        latents = latents_of(self.inner)
        assert latents is not None
        before = self._unmoved(event_rows(x0), cond).view_as(x0)
        before, x1 = latents.smoothed(before, x1, cond, generator=generator)
        return self._moved(event_rows(before), cond).view_as(x0), x1

    def _moved(self, x: Tensor, cond: Tensor | None) -> Tensor:
        """m + s + a (x − m) of rows ``[n, D]``."""
        shift, scale = self._move(cond, len(x))
        if scale is None:
            return x + shift
        centre = self._centre(cond, len(x))
        return centre + shift + scale * (x - centre)

    def _unmoved(self, x: Tensor, cond: Tensor | None) -> Tensor:
        """The inverse of :meth:`_moved`."""
        shift, scale = self._move(cond, len(x))
        if scale is None:
            return x - shift
        centre = self._centre(cond, len(x))
        return centre + (x - centre - shift) / scale

    def _move(self, cond: Tensor | None, n: int) -> tuple[Tensor, Tensor | None]:
        """Shift ``[n, D]`` and scale ``[n, 1]`` of each row, differentiable; no scale where it is 1."""
        numbers = self._numbers(cond, n)
        if not self.scale:
            return numbers, None
        log_scale = MOST_LOG_SCALE * (numbers[:, -1:] / MOST_LOG_SCALE).tanh()
        shift = numbers[:, :-1] if self.shift else numbers.new_zeros(n, self.inner.event_shape.numel())
        return shift, log_scale.exp()

    def _numbers(self, cond: Tensor | None, n: int) -> Tensor:
        """What is trained, for each row; of a null condition the mean over those that fit saw."""
        assert self.trained is not None
        if cond is None or self.condition.kind == "none":
            return self.trained(torch.zeros(n, dtype=torch.long, device=self.event_dims.device))
        null, known = self._known(cond)
        numbers = self.trained(known)
        if self.condition.kind == "embeddings" and not bool(null.any()):
            return numbers
        return torch.where(null[:, None], self._mean_numbers(), numbers)

    def _mean_numbers(self) -> Tensor:
        assert self.trained is not None
        few = slice(None) if self.condition.kind == "labels" else slice(OF_THE_MARGINAL)
        if self._is_pooled:
            return self.trained(self._zeros(1))[0]
        weight = self.seen_weight[few]
        return (weight / weight.sum()) @ self.trained(self.seen[few])

    def _zeros(self, n: int) -> Tensor:
        """Null embeddings ``[n, E]``."""
        return torch.zeros(n, self.condition.size, dtype=self.seen.dtype, device=self.seen.device)

    def _sample_pooled(self, n: int, generator: torch.Generator | None) -> Tensor:
        return self._moved(super()._sample_pooled(n, generator), self._zeros(n))

    def _known(self, cond: Tensor) -> tuple[Tensor, Tensor]:
        """Which rows are the null condition, and ``cond`` with one that fit saw in their place."""
        if self.condition.kind == "labels":
            cond = cond.to(self.seen.device)
            null = ~torch.isin(cond, self.seen)
            return null, torch.where(null, self.seen[0], cond)
        return self._null_of(cond.to(self.seen))

    @torch.no_grad()
    def _centre(self, cond: Tensor | None, n: int) -> Tensor:
        """m ``[n, D]``, the mean of the other prior; of a null condition that of its marginal."""
        if cond is None or self.condition.kind == "none":
            return self.inner.mean(None, n).flatten(1)
        null, known = self._known(cond)
        mean = self.inner.mean(known).flatten(1)
        return torch.where(null[:, None], self.inner.marginal_mean().flatten(), mean)


def spread_from_fit(scale: Tensor) -> Tensor:
    """½ (a² − 1 − log a²), the divergence a dimension from a Gaussian source of scale 1; a scalar.

    The variance term of arXiv 2602.05951, of scales a ``[B, 1]``.
    """
    variance = scale.square()
    return 0.5 * (variance - 1 - variance.log()).mean()


def direction_off(mean: Tensor, x1: Tensor) -> Tensor:
    """Mean of 1 − cos(mean, x1) over rows ``[B, D]``, a scalar; the directional term of arXiv 2602.05951.

    Of a mean shorter than a tenth of its datum the length counts as that, so that a mean of zero has a
    gradient of a reasonable size.
    """
    length = x1.norm(dim=1).clamp_min(torch.finfo(x1.dtype).tiny ** 0.25)
    cosine = (mean * x1).sum(1) / torch.maximum(mean.norm(dim=1), SHORTEST_MEAN * length) / length
    return (1 - cosine).mean()
