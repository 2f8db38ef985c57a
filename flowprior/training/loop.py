"""The training loop, read from top to bottom."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition, Conditions
from flowprior.conditions.rows import chosen
from flowprior.errors import TrainingDiverged
from flowprior.models.base import in_precision
from flowprior.ops import flow_matching_loss
from flowprior.training.batches import Pairs, PairStream, Prefetched, Randomness
from flowprior.training.callbacks import Monitor
from flowprior.training.interrupts import StopRequests, TrainingInterrupted, agreed
from flowprior.training.objective import ErrorWeight
from flowprior.training.run import RunDirectory
from flowprior.training.state import TrainingState, compiling, learning_rate_factor

Measure = Callable[[TrainingState], dict[str, float]]
"""Values of a state's averaged weights by name, with ``validation_loss`` among them."""


class StepResult(NamedTuple):
    """The loss of a step (a scalar) and its x_t ``[B, *event]``, for the message of a run that diverges."""

    loss: Tensor
    x_t: Tensor


def run_steps(
    state: TrainingState,
    pairs: PairStream | Prefetched,
    randomness: Randomness,
    monitor: Monitor,
    run: RunDirectory | None,
    measure: Measure | None = None,
) -> None:
    """Train from ``state.step`` to the last step, logging, drawing and saving on the way.

    Args:
        state: of the training, which changes.
        pairs: one batch for each step.
        randomness: of the run.
        monitor: told what happens.
        run: where checkpoints go; None saves none.
        measure: values of the averaged weights on held-out events, asked for at every checkpoint.

    Raises:
        TrainingDiverged: the loss is not finite; the last good checkpoint stays.
        TrainingInterrupted: Ctrl-C, SIGTERM, SIGUSR1 or the limit of time, after saving a checkpoint.
    """
    config = state.config
    requests = StopRequests(run is not None, config.max_minutes, state.begun, state.processes.size > 1)
    with requests, randomness.model_seeds_stay_inside():
        while state.step < config.steps:
            result = training_step(state, pairs, randomness)
            monitor.advance(state.step)
            # Once: what comes while this step is written waits for the next.
            stop = agreed(requests.reason(), state.processes, state.step)
            last = state.step == config.steps or stop is not None
            due = last or is_due(state.step, config.checkpoint_every)
            log = state.step == config.steps or is_due(state.step, config.log_every)
            if (log or due) and not state.means.is_finite():
                diverged(state, state.step, result)
            if log:
                monitor.log(state, pairs.seconds_waited)
            if is_due(state.step, config.sample_every):
                monitor.draw(state)
            if measure is not None and due and state.processes.is_main:
                monitor.validated(state, measure(state))
            if run is not None and due:
                state.means.gather(state.processes)  # a checkpoint holds what all processes have seen
                if state.processes.is_main:
                    monitor.saved(state.step, state.save(run.checkpoints))
            if run is not None and stop is not None:
                state.processes.wait()  # once the checkpoint is whole
                raise TrainingInterrupted(
                    f"stopped by {stop.text} after step {state.step} of {config.steps}; "
                    f"a checkpoint is saved in {run.path}, resume=True (--resume) goes on from it",
                    stop.code,
                )


def training_step(state: TrainingState, pairs: PairStream | Prefetched, randomness: Randomness) -> StepResult:
    """One optimiser step on a batch, whose micro-batches are looked at one after the other.

    Path and loss are in float32 whatever the precision of the model's forward pass, whose result goes into
    the loss as it is.
    """
    config, device, step = state.config, randomness.device, state.step
    times = state.times.draw(
        config.batch_size, step / config.steps, randomness.generator("time", step), device
    )
    dropped = dropped_rows(config.batch_size, config.dropped_share, step, randomness)
    state.optimizer.zero_grad(set_to_none=True)
    results = []
    parts, size = state.own_parts, config.batch_size // state.micro_batches
    for part in parts:
        rows = slice(part * size, (part + 1) * size)
        randomness.seed_model(step, part)
        given = None if dropped is None else dropped[rows]
        with state.processes.gathering(state.forward, now=part == parts[-1]):
            results.append(micro_step(state, pairs.micro_batch(step, part), times[rows], given))
    losses, points = zip(*results, strict=True)
    result = StepResult(torch.stack(losses).mean(), torch.cat(points))
    norm = torch.nn.utils.clip_grad_norm_(state.weights, config.clip or math.inf)
    state.means.add(result.loss, norm)
    if device.type == "cpu" and not state.means.is_finite():
        diverged(state, step + 1, result)
    state.optimizer.step()
    state.scheduler.step()
    state.ema.update_parameters(state.model)
    state.step += 1
    return result


def micro_step(state: TrainingState, pairs: Pairs, times: Tensor, dropped: Tensor | None) -> StepResult:
    """Return the loss of one micro-batch, and add its gradient to that of the others before.

    Args:
        state: of the training.
        pairs: (x0, x1, condition) of B rows.
        times: of the rows, as the prediction knows them.
        dropped: which rows lose their condition, bool ``[B]``; None for none.
    """
    x0, x1, cond = pairs
    cond = drop_conditions(cond, state.parts.data.condition, dropped)
    x0 = x0.float()
    with compiling(state.config.compile):
        x_t, u_t, _ = state.parts.path.interpolate(x0, x1.float(), state.prediction.instant(times))
        loss = batch_loss(state, state.forward, x0, x_t, u_t, times, cond)
        (loss / state.config.accumulate).backward()
    return StepResult(loss.detach(), x_t.detach())


def batch_loss(
    state: TrainingState,
    model: nn.Module,
    x0: Tensor,
    x_t: Tensor,
    u_t: Tensor,
    times: Tensor,
    cond: Conditions | None,
    weigh_errors: bool = True,
) -> Tensor:
    """The weighted mean squared error of the model's velocity at x_t ``[B, *event]``, a scalar.

    Args:
        state: of the training, with what the model's output means and how errors are weighed.
        model: with the raw weights, or the averaged ones.
        x0: source samples ``[B, *event]``.
        x_t: points of the path.
        u_t: its velocities there.
        times: of the rows, as the prediction knows them.
        cond: condition of each row.
        weigh_errors: whether weights that follow the errors apply, as in training.
    """
    config = state.config

    def network(inputs: Tensor, told: Tensor, cond: Conditions | None) -> Tensor:
        if config.channels_last and inputs.dim() == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with in_precision(config.precision, x_t.device):
            return model(inputs, told, cond)

    said, target, scale = state.prediction.compared(network, x0, x_t, u_t, times, cond)
    if isinstance(state.loss_weight, ErrorWeight) and weigh_errors:
        errors = flow_matching_loss(said.detach(), target.detach(), reduction="none")
        return flow_matching_loss(said, target, state.loss_weight.of_errors(errors))
    weight = state.loss_weight.weight(state.prediction.instant(times), scale)
    if weight is None:
        return flow_matching_loss(said, target)
    root = weight.sqrt()
    return flow_matching_loss(root * said, root * target)


def dropped_rows(count: int, share: float, step: int, randomness: Randomness) -> Tensor | None:
    """Choose the rows of ``count`` that lose their condition at ``step``, bool ``[count]``; None for none."""
    if share == 0:
        return None
    generator = randomness.generator("condition dropout", step)
    return torch.rand(count, generator=generator, device=randomness.device) < share


def drop_conditions(
    cond: Conditions | None, condition: Condition, dropped: Tensor | None
) -> Conditions | None:
    """Return ``cond`` with the null condition in all parts of the rows that are ``dropped``, bool ``[B]``."""
    if cond is None or dropped is None:
        return cond
    null = condition.null(cond)
    return cond if null is None else chosen(dropped, null, cond)


def diverged(state: TrainingState, step: int, result: StepResult) -> NoReturn:
    """Stop a run whose loss or gradient is not finite at step ``step`` (from 1), saying what was seen."""
    lr = state.config.lr * learning_rate_factor(step - 1, state.config)
    saved = (
        f"the last good checkpoint is {state.saved}" if state.saved else "no checkpoint was saved before it"
    )
    raise TrainingDiverged(
        f"training: the loss or its gradient is not finite at step {step}: "
        f"loss {result.loss.item():.4g}, lr {lr:.3g}, "
        f"largest |x_t| {result.x_t.abs().max().item():.4g}; {saved}; "
        "lower training.lr, lengthen training.warmup or look for extreme values in the data"
    )


def is_due(step: int, every: int) -> bool:
    """Return True if ``step`` is one of every ``every`` steps; 0 is never."""
    return every > 0 and step % every == 0
