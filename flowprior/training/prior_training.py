"""What a prior trains with the flow, beside the network: its optimiser, schedule and averaged weights.

The loss is the network's, and the prior's own terms (``Prior.loss``). The gradient has a bound of its own,
so that neither of the two makes the other's steps shorter."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition, Conditions
from flowprior.couplings import Coupling
from flowprior.errors import CouplingError, OptionError
from flowprior.flow.prediction_kinds import KINDS
from flowprior.flow.tensors import load_plain
from flowprior.priors import Prior, TrainedPrior
from flowprior.training.components import Components
from flowprior.training.config import TrainingConfig
from flowprior.training.engine import Engine
from flowprior.training.optimiser import build_ema, build_optimizer, build_scheduler


class PriorTraining:
    """The weights of a fitted prior that are trained in place, and all that belongs to them.

    Args:
        prior: fitted; as a checkpoint has it, with averaged weights, where a run goes on.
        config: of the training; the learning rate is multiplied by ``prior.rate``, and no weight decays.
        engine: of the processes that train together.

    Attributes:
        averaged: the prior with averaged weights; what was fitted it shares with ``prior``.
    """

    def __init__(self, prior: TrainedPrior, config: TrainingConfig, engine: Engine) -> None:
        assert prior.trained is not None
        self.prior, self.config, self.engine = prior, config, engine
        self.module: nn.Module = prior.trained.requires_grad_(True)
        self.optimizer = build_optimizer(self.module, replace(config, weight_decay=0.0))
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * prior.rate
        self.scheduler = build_scheduler(self.optimizer, config)
        self.ema = build_ema(self.module, config.ema)
        shared = {id(prior.fixed): prior.fixed, id(self.module): self.ema.module}
        self.averaged: TrainedPrior = copy.deepcopy(prior, shared)

    def pairs_of(self, x0: Tensor, x1: Tensor, cond: Conditions | None) -> tuple[Tensor, Tensor]:
        """The prior's source samples ``[B, *event]``, of fixed ones x0, and its terms of the loss."""
        return self.prior.moved(x0, cond), self.prior.loss(x1, cond)

    def step(self) -> None:
        """One step on the gradients that all micro-batches of all processes have left."""
        if self.engine.size > 1:
            for weight in self.module.parameters():
                if weight.grad is not None:
                    weight.grad = self.engine.mean(weight.grad)
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.config.clip or math.inf)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.scheduler.step()
        self.ema.update_parameters(self.module)

    @contextmanager
    def average_in_place(self) -> Iterator[None]:
        """Around what asks the prior itself: it has its averaged weights meanwhile."""
        raw = [weight.detach().clone() for weight in self.module.parameters()]
        self._take(self.ema.module.parameters())
        try:
            yield
        finally:
            self._take(raw)

    @torch.no_grad()
    def _take(self, weights: Iterable[Tensor]) -> None:
        for own, other in zip(self.module.parameters(), weights, strict=True):
            own.copy_(other)

    def state(self) -> dict[str, Any]:
        """For a checkpoint, beside the averaged weights that its flow has."""
        return {
            "weights": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": int(self.ema.n_averaged),
        }

    def load_state(self, state: Mapping[str, Any], step: int) -> None:
        """Go on from :meth:`state`, standing at ``step``."""
        load_plain(self.module, state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema.n_averaged.fill_(state["averaged"])
        self.scheduler = build_scheduler(self.optimizer, self.config, step)


def check_trained(parts: Components, engine: Engine) -> None:
    """Refuse what a prior cannot be trained with.

    Raises:
        CouplingError: as :func:`check_pairs`.
        OptionError: as :func:`check_learned`.
    """
    check_pairs(parts.prior, parts.coupling, parts.data.condition)
    check_learned(parts.prior, parts.config.training.prediction)


def check_pairs(prior: Prior, coupling: Coupling, condition: Condition) -> None:
    """Refuse to train a prior on pairs across conditions, or on those of a prior that must stay as it is.

    Raises:
        CouplingError: which couplings can serve it.
    """
    if isinstance(prior, TrainedPrior) and not coupling.keeps_conditions(condition):
        raise CouplingError(
            "training a prior with its flow: expected a coupling that draws each source sample under the "
            f"condition of its datum, got '{coupling.name}'; use condot, posterior or ot:condition=within"
        )


def check_learned(prior: Prior, prediction: str) -> None:
    """Refuse to train a mean that nothing would hold, or by targets that are no loss of the prior.

    Raises:
        OptionError: a prediction that takes the moments of the pairs off, or that learns from itself.
    """
    if isinstance(prior, TrainedPrior) and KINDS[prediction].interval:
        raise OptionError(
            f"training a prior with its flow: prediction '{prediction}' learns from its own output, which "
            "tells the prior nothing; use prediction 'velocity' (--set training.prediction=velocity)"
        )
    if isinstance(prior, TrainedPrior) and prior.trains_mean and KINDS[prediction].takes_moments:
        raise OptionError(
            f"training a prior with its flow: prediction '{prediction}' takes the moments of the pairs off, "
            "and a shift with them; use shift=false,scale=true, or prediction 'velocity' (--set "
            "training.prediction=velocity)"
        )
