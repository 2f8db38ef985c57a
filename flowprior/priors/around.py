"""A mean that is given: x0 = m(c) + ψ^½ ε, with m a part of the condition or the answer of your own network.

The mean of the data may lie beside m. With the residuals r = x1 − m(c), of mean b and covariance Σ over all
data, source samples are m + (r − b) in distribution, as far as a Gaussian goes: the law of a pair has the
means m of x0 and m + b of x1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowprior.display.shown import shape_of
from flowprior.errors import CheckpointError, InputError, OptionError
from flowprior.mixtures.moments import ConditionMoments
from flowprior.priors.base import Prior
from flowprior.priors.frame import DiagonalFrame, Frame
from flowprior.priors.holdout import conditioned
from flowprior.priors.kernels import are_kernels
from flowprior.priors.mean_prior import MeanPrior, check_condition_shape
from flowprior.priors.residuals import LOWRANK, ConstantResiduals, check_sigma, constant_residuals
from flowprior.priors.seen_conditions import SeenConditions
from flowprior.registry import check_counts
from flowprior.registry.options import check_numbers, choose
from flowprior.storage.writing import one_line
from flowprior.streams.batches import Batch, CheckedBatches

OWNER = "prior 'around'"
NONE = "none"
RESIZE = (NONE, "nearest", "linear", "bilinear", "bicubic", "area")
"""The rules by which a part of another size becomes one of the event's."""


@Prior.register("around", option_aliases={"part": "reads"})
class AroundPrior(MeanPrior):
    """A mean that is given, a part of the condition or the answer of your network, plus noise.

    A draft, a reference state, a forecast or a regression of your own is where the flow starts; the spread of
    what is left is fitted. Fit it to data that the network has not seen, for it leaves too little of others.

    Args:
        mean: your network or function, from the condition ``[B, …]`` to ``[B, *event]``; a module is
            called in evaluation mode, gets no gradient, and its weights are saved with the prior. None takes
            the condition itself.
        sigma: standard deviation of the noise, a number; or its estimate from the residuals: ``"scalar"``,
            ``"diagonal"``, ``"lowrank"``, a covariance with latents that can be inferred, or kernels along
            the axes of an event, such as ``"ou-white"``, as the prior ``gp`` has them.
        rank: of the low-rank covariance, cut to the number of dimensions.
        source_noise: variance of the noise that source samples of a low-rank covariance have and data do not.
        resize: the rule by which a condition ``[B, C, …]`` of another size becomes one of the event's:
            ``"nearest"``, ``"linear"`` (series), ``"bilinear"``, ``"bicubic"`` or ``"area"`` (images).
    """

    unwritten = ("mean",)
    takes_events = True
    takes = ("labels", "embeddings", "tensor")

    def __init__(
        self,
        mean: Callable[[Tensor], Tensor] | None = None,
        sigma: float | str = "scalar",
        rank: int = 64,
        source_noise: float = 1e-4,
        resize: str = NONE,
    ) -> None:
        super().__init__(SeenConditions())
        if mean is not None and not callable(mean):
            raise OptionError(f"{OWNER}: expected mean to be a network or a function, got {mean!r}")
        if isinstance(mean, nn.Module) and any(module.training for module in mean.modules()):
            raise OptionError(f"{OWNER}: expected mean in evaluation mode, got training; call mean.eval()")
        check_sigma(OWNER, sigma)
        check_counts(OWNER, rank=rank)
        check_numbers(OWNER, source_noise=(source_noise, 0, 1e12))
        self.regression = mean
        self.sigma, self.rank, self.source_noise = sigma, rank, source_noise
        self.resize = choose(OWNER, "resize", resize, RESIZE)
        self.has_latents, self.has_spread = sigma == LOWRANK, not are_kernels(sigma)
        self.suited_coupling = "posterior" if self.has_latents else "condot"
        self.condition_dims = nn.Buffer(torch.empty(0, dtype=torch.long))
        self.bias = nn.Buffer(torch.empty(0))  # b, [D]
        self.has_regression = nn.Buffer(torch.tensor(mean is not None))
        self.residuals = self._constant_residuals(0)

    @torch.no_grad()
    def _fit(self, data: CheckedBatches, generator: torch.Generator | None) -> None:
        first, cond = data.peek()
        if cond is None:
            raise InputError("around.fit: expected the condition that the mean is made of, got None")
        dims = cond.shape[1:] if cond.dim() > 2 else ()
        self.condition_dims = torch.tensor(dims, dtype=torch.long, device=self.event_dims.device)
        self.center = self.seen.learn(data, generator).to(first)
        answer = partial(self._answer, event=first.shape[1:])

        def residuals(batches: Iterable[Batch]) -> Iterator[Tensor]:
            return (x.to(self.center) - answer(cond) for x, cond in conditioned(batches))

        self.bias = bias = ConditionMoments.over((left, None) for left in residuals(data)).mean[0].to(first)
        self.residuals = self._constant_residuals(len(bias)).to(first)
        self.residuals.learn(lambda rows: (left - bias for left in residuals(rows)), lambda: data, data)

    def _constant_residuals(self, dim: int) -> ConstantResiduals:
        return constant_residuals(OWNER, self.sigma, dim, self.rank, self.source_noise)

    def _answer(self, cond: Tensor, event: torch.Size) -> Tensor:
        """Return m(c) ``[B, D]`` for events of this shape.

        Raises:
            InputError: the mean is of another shape, or is not finite.
        """
        given, advice = cond.view(-1, *self.condition_dims.tolist()) if len(self.condition_dims) else cond, ""
        if self.regression is not None:
            found = _called(self.regression, given)
        elif self.resize != NONE and given.shape[1:] != event:
            found = self._resized(given, event)
        else:
            found, advice = given, "; name a part= of this shape, give a network as mean, or set resize="
        got = type(found).__name__
        if isinstance(found, Tensor) and found.shape == (len(cond), *event):
            if bool(torch.isfinite(found).all()):
                return found.detach().flatten(1).to(self.center)
            got, advice = "NaN or infinite ones", "; repair the condition or the network"
        elif isinstance(found, Tensor):
            got = f"{found.dtype} of shape {shape_of(found.shape)}"
        raise InputError(
            f"around: expected as mean finite numbers of shape {shape_of((len(cond), *event))}, got "
            f"{got}{advice}"
        )

    def _resized(self, given: Tensor, event: torch.Size) -> Tensor:
        try:
            return functional.interpolate(given, event[1:], mode=self.resize)
        except (ValueError, NotImplementedError, RuntimeError) as error:
            raise InputError(
                f"around: resize='{self.resize}' does not take conditions of shape "
                f"{shape_of(given.shape[1:])} to events of shape {shape_of(event)}; choose another rule"
            ) from error

    def _deviation(self, cond: Tensor) -> tuple[Tensor, None]:
        return self._answer(cond, self.event_shape) - self.center, None

    @torch.no_grad()
    def spread(self, cond: Tensor | None, n: int) -> Frame | DiagonalFrame:
        assert cond is not None
        null, _ = self.seen.without_null(cond.to(self.center.device))
        frame = super().spread(cond, n)
        loc = frame.loc - torch.where(null[:, None], self.bias, 0.0)  # all source samples have the mean m̄ − b
        return replace(frame, loc=loc, data_loc=loc + self.bias)

    def _infer(self, x1: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return super()._infer(x1.to(self.bias) - self.bias, cond, generator)

    def _make_parts(self, state_dict: Mapping[str, Tensor], prefix: str) -> None:
        own = state_dict.get(prefix + "has_regression")
        if own is not None and bool(own) and self.regression is None:
            raise CheckpointError(
                "around: its mean is a network of your own; give it to load as "
                "prior=Prior.create('around', mean=network, …)"
            )

    def _check_shape(self, part: Tensor, method: str) -> None:
        check_condition_shape(part, self.condition_dims, f"{self.name}.{method}")


def _called(regression: Callable[[Tensor], Any], given: Tensor) -> Any:
    """Return what the user's network answers in evaluation mode.

    Raises:
        InputError: it fails, as under another dtype or on another device.
    """
    if isinstance(regression, nn.Module):
        regression.eval()
    try:
        return regression(given)
    except Exception as error:  # whatever a function of the user's raises
        raise InputError(
            f"around: the mean fails for conditions {given.dtype} {list(given.shape)} on {given.device}: "
            f"{one_line(error)}"
        ) from error
