"""Names for the parts of a training step, put around them from outside while it is profiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import record_function

from flowprior.training import batches, loop
from flowprior.training.state import TrainingState

PREFIX = "part of the step: "
PRIOR_METHODS = ("sample", "sample_marginal", "infer", "smoothed")
REGIONS = (
    *("data", "prior", "coupling", "times", "path", "prediction", "network", "loss"),
    *("backward", "clipping", "optimiser", "average", "other"),
)
"""In the order of a step; ``other`` is what no name is put around."""


def named(region: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, under the region's name in a profile."""

    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        with record_function(PREFIX + region):
            return function(*arguments, **options)

    return call


@contextmanager
def regions_of(state: TrainingState) -> Iterator[None]:
    """Context in which the steps of ``state`` carry names; afterwards everything is as before."""
    parts = state.parts
    places: list[tuple[str, Any, str]] = [
        ("data", batches, "fetch"),
        *(("prior", parts.prior, name) for name in PRIOR_METHODS if hasattr(parts.prior, name)),
        ("coupling", parts.coupling, "pairs"),
        ("times", state.times, "draw"),
        ("path", parts.path, "interpolate"),
        ("prediction", state.prediction, "view"),
        ("prediction", state.prediction, "regression"),
        ("loss", loop, "flow_matching_loss"),
        ("backward", torch.Tensor, "backward"),
        ("clipping", torch.nn.utils, "clip_grad_norm_"),
        ("optimiser", state.optimizer, "step"),
        ("average", state.ema, "update_parameters"),
    ]
    with ExitStack() as stack:
        for region, owner, name in places:
            stack.enter_context(patch.object(owner, name, named(region, getattr(owner, name))))
        stack.enter_context(_network(state.model))
        yield


@contextmanager
def _network(model: torch.nn.Module) -> Iterator[None]:
    """The network's forward pass, by hooks, however the loop calls it."""
    opened: list[Any] = []

    def enter(*_: Any) -> None:
        opened.append(record_function(PREFIX + "network"))
        opened[-1].__enter__()

    def leave(*_: Any) -> None:
        opened.pop().__exit__(None, None, None)

    hooks = [model.register_forward_pre_hook(enter), model.register_forward_hook(leave, always_call=True)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
