"""The training loop, read from top to bottom, and the signals and limit of time that end it early.

The step under way is finished and a checkpoint saved, so that nothing is lost and a resumed run goes on.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition, Conditions
from flowprior.conditions.rows import chosen, rows
from flowprior.data.base import Data
from flowprior.errors import TrainingDiverged, TrainingInterrupted
from flowprior.models.base import in_precision
from flowprior.ops import flow_matching_loss
from flowprior.training.batches import Pairs, PairStream, Prefetched, Randomness, fetch
from flowprior.training.callbacks import Monitor
from flowprior.training.run import RunDirectory
from flowprior.training.state import TrainingState, learning_rate

ASK_EVERY = 16
"""Steps between two questions whether to stop, where processes on GPUs wait for each other's answer."""
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Slurm sends SIGUSR1 some time before the end of a job to those who ask for it (``--signal=USR1@120``)."""
LIMIT_CODE = 124
"""The exit code of a run that has reached its limit of time: that of ``timeout``."""

TIMES = 8
"""The number of times at which the loss on held-out events is measured."""
LOSS = "validation_loss"
Loss = Callable[[Tensor, Tensor], Tensor]
"""A function of output and target, both ``[B, *event]``: a scalar, or a value of each event."""
errors_of_each: Loss = partial(flow_matching_loss, reduction="none")


class StopReason(NamedTuple):
    """The reason why a run stops: in words that follow "stopped by", and the exit code of the process."""

    text: str
    code: int


def run_steps(
    state: TrainingState,
    pairs: PairStream | Prefetched,
    monitor: Monitor,
    run: RunDirectory | None,
) -> None:
    """Train from ``state.step`` to the last step, or as long as patience lasts, logging, drawing and saving.

    Args:
        state: the state of the training, which changes.
        pairs: one batch for each step.
        monitor: reports what happens.
        run: the folder of the checkpoints; None saves none.

    Raises:
        TrainingDiverged: the loss is not finite; the last good checkpoint stays.
        TrainingInterrupted: Ctrl-C, SIGTERM, SIGUSR1 or the limit of time, after saving a checkpoint.
    """
    config, is_main = state.config, state.processes.is_main
    with noted_signals(run is not None) as received, state.randomness.model_seeds_stay_inside():
        while state.step < config.steps and not state.is_stale:
            loss = training_step(state, pairs)
            monitor.tell("on_step", state.step)
            # Once: what comes while this step is written waits for the next.
            stop = None if run is None else stop_reason(state, received)
            planned = is_due(state, config.checkpoint_every) or state.step == config.steps
            due = stop is not None or planned
            log = is_due(state, config.log_every) or state.step == config.steps
            if (log or due) and not state.means.is_finite():
                diverged(state, state.step, loss)
            if log:
                monitor.log(state)
            if is_due(state, config.sample_every):
                monitor.draw(state)
            if state.parts.held is not None and due:
                values = validation_losses(state, state.parts.held) if is_main else {}
                values = state.processes.of_first(values)
                if planned:  # so that an interrupted run has the best step of one that is not
                    state.consider(values[LOSS])
                monitor.tell("on_validation", state.step, values)
            if run is not None and due and is_main:
                monitor.tell("on_checkpoint", state.step, state.save(run.checkpoints))
            if run is not None and stop is not None:
                state.processes.wait()  # once the checkpoint is whole
                raise TrainingInterrupted(
                    f"stopped by {stop.text} after step {state.step} of {config.steps}; "
                    f"a checkpoint is saved in {run.path}, resume=True (--resume) goes on from it",
                    stop.code,
                )


@contextmanager
def noted_signals(enabled: bool) -> Iterator[list[signal.Signals]]:
    """Note :data:`SIGNALS` in place of what they do; a second Ctrl-C does it again.

    Outside the main thread, where Python allows no handlers, signals are left alone. The previous handlers
    come back at the end.

    Args:
        enabled: False notes nothing, for a run that cannot be saved.
    """
    received: list[signal.Signals] = []
    handlers: dict[signal.Signals, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        if number == signal.SIGINT:
            signal.signal(number, handlers[signal.SIGINT])

    if enabled and threading.current_thread() is threading.main_thread():
        # None marks a handler that was not installed from Python; it cannot be put back.
        handlers = {number: known for number in SIGNALS if (known := signal.getsignal(number)) is not None}
    for number in handlers:
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def stop_reason(state: TrainingState, received: list[signal.Signals]) -> StopReason | None:
    """Return the reason to stop after this step, which any process may have; None to go on.

    Args:
        state: the state of the training.
        received: signals that this process was sent.
    """
    processes, minutes = state.processes, state.config.max_minutes
    if processes.device.type != "cpu" and state.step % ASK_EVERY:
        return None
    reason = None
    if received:
        reason = StopReason(received[0].name, 128 + received[0])
    elif minutes and time.monotonic() >= state.begun + 60 * minutes:
        reason = StopReason(f"its limit of {minutes:g} minutes", LIMIT_CODE)
    return next(filter(None, processes.of_each(reason)), None)


def training_step(state: TrainingState, pairs: PairStream | Prefetched) -> Tensor:
    """Make one optimiser step on a batch, one micro-batch after the other, and return its loss.

    Path and loss are in float32 whatever the precision of the model's forward pass, whose result goes into
    the loss as it is.
    """
    config, randomness, step = state.config, state.randomness, state.step
    generator = randomness.generator("time", step)
    times = state.times.draw(config.batch_size, step / config.steps, generator, randomness.device)
    dropped = dropped_rows(config.batch_size, config.dropped_share, step, randomness)
    state.optimizer.zero_grad(set_to_none=True)
    losses = []
    parts, size = state.own_parts, config.batch_size // state.micro_batches
    for part in parts:
        own = slice(part * size, (part + 1) * size)
        begun = time.perf_counter()
        x0, x1, cond = pairs.micro_batch(step, part)
        state.waited += time.perf_counter() - begun
        cond = drop_conditions(cond, state.parts.data.condition, None if dropped is None else dropped[own])
        randomness.seed_model(step, part)
        with state.processes.gathering(state.forward, now=part == parts[-1]):
            noise = randomness.generator(f"noise on the way of micro-batch {part}", step)
            pairs_of_part, weighted = (x0, x1, cond), state.loss_weight.loss
            loss = batch_loss(state, state.forward, pairs_of_part, times[own], noise, weighted)
            loss.backward(torch.full_like(loss, 1 / config.accumulate))
        losses.append(loss.detach())
    loss = losses[0] if len(losses) == 1 else torch.stack(losses).mean()
    norm = torch.nn.utils.clip_grad_norm_(state.weights, config.clip or math.inf)
    state.means.add(state.processes.mean(torch.stack([loss, norm.float()])))
    if randomness.device.type == "cpu" and not state.means.is_finite():
        diverged(state, step + 1, loss)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(step, config)
    state.optimizer.step()
    state.ema.update_parameters(state.model)
    state.step += 1
    return loss


def batch_loss(
    state: TrainingState,
    model: nn.Module,
    pairs: Pairs,
    times: Tensor,
    generator: torch.Generator,
    loss: Loss = flow_matching_loss,
) -> Tensor:
    """Return the loss of the model on the path.

    Args:
        state: the state of the training, with what the model's output means.
        model: the network with its raw weights, or with the averaged ones.
        pairs: (x0, x1, condition) of B rows.
        times: the times of the rows, as the prediction knows them.
        generator: of the noise on the way.
        loss: compares output and target; by default the mean squared error.
    """
    config, prediction = state.config, state.prediction
    x0, x1, cond = pairs
    x0 = x0.float()
    instant, path = prediction.instant(times), state.parts.path
    x_t, u_t, _ = path.interpolate(x0, x1.float(), instant, generator=generator)

    def network(inputs: Tensor, t: Tensor, cond: Conditions | None) -> Tensor:
        if config.channels_last and inputs.dim() == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with in_precision(config.precision, inputs.device):
            return model(inputs, t, cond)

    return loss(*prediction.compared(network, x0, x_t, u_t, times, cond))


@torch.no_grad()
def validation_losses(state: TrainingState, held: Data) -> dict[str, float]:
    """Measure the averaged weights on events that no step sees: ``validation_loss``, and at each time.

    The loss is the mean squared error at the middles of eight equal parts of [0, 1], whatever the timestep
    distribution and the weights of the training: event i of a fixed order is looked at at time i mod 8. Pairs
    are those of the coupling for new data, the same ones at every call, so that two values differ by the
    weights alone. A time without events is left out.
    """
    parts, config, randomness = state.parts, state.config, state.randomness
    order = torch.randperm(len(held), generator=Randomness(config.seed).generator("validation"))
    size, device = parts.coupling.draw_size(config.batch_size), randomness.device
    sums = torch.zeros(2, TIMES, dtype=torch.float64, device=device)
    for number, indices in enumerate(order.split(size)):
        x1, cond = fetch(held, indices, device)
        generator = randomness.generator("validation", number)
        given = parts.coupling.sources(held, indices)
        x0, x1 = parts.coupling.pairs_of_new(parts.prior, x1, cond, generator=generator, **given)
        for own in torch.arange(len(x1), device=device).split(config.batch_size):
            time = (own + number * size) % TIMES
            pairs = (x0[own], x1[own], rows(cond, own))
            now = (time + 0.5) / TIMES
            errors = batch_loss(state, state.averaged, pairs, now, generator, errors_of_each)
            sums.index_add_(1, time, torch.stack([errors.double(), torch.ones_like(errors.double())]))
    losses, counts = sums.tolist()
    at = {f"{LOSS}_at_{(k + 0.5) / TIMES:g}": losses[k] / counts[k] for k in range(TIMES) if counts[k]}
    return {LOSS: sum(losses) / len(held), **at}


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


def diverged(state: TrainingState, step: int, loss: Tensor) -> NoReturn:
    """Stop a run whose loss or gradient is not finite at step ``step`` (from 1)."""
    saved = f"the last good checkpoint is {state.saved}" if state.saved else "no checkpoint was saved before"
    raise TrainingDiverged(
        f"training: the loss or its gradient is not finite at step {step}: loss {loss.item():.4g}, "
        f"lr {learning_rate(step - 1, state.config):.3g}; {saved}; lower training.lr, lengthen "
        "training.warmup or look for extreme values in the data"
    )


def is_due(state: TrainingState, every: int) -> bool:
    """Return True if the step is one of every ``every`` steps; 0 is never."""
    return every > 0 and state.step % every == 0
