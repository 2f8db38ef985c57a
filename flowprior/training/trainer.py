"""The function ``train``: from names, spec strings or instances to the parts of a run and to a flow."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from torch import nn
from tqdm import tqdm

from flowprior.couplings import Coupling
from flowprior.couplings.reflow import ReflowCoupling
from flowprior.data.base import as_data
from flowprior.errors import CheckpointError, OptionError
from flowprior.flow import Flow
from flowprior.flow.description import describe, load_plain
from flowprior.flow.files import step_folders
from flowprior.models import LatentEncoder
from flowprior.models.encoders import LATENTS, EncodedData
from flowprior.paths import Path as ProbabilityPath
from flowprior.priors import Prior
from flowprior.processes.group import Group, launched_group
from flowprior.progress.stages import showing, shows_progress, stage
from flowprior.registry.plugins import load_point
from flowprior.streams.data import every_condition
from flowprior.training.batches import PairStream, Prefetched, Randomness
from flowprior.training.callbacks import Callback, Monitor, ending
from flowprior.training.components import Components, merged_config, resolve_components, settled_config
from flowprior.training.config import AUTO, BATCH, NO_LATENT, RunConfig, TrainingConfig
from flowprior.training.interrupts import TrainingInterrupted
from flowprior.training.loop import run_steps
from flowprior.training.measures import Validation, measure_starts
from flowprior.training.rectifying import TEACHER, check_teacher, teacher_of, teachers_prior
from flowprior.training.run import RunDirectory, RunInfo, clear_run, save_run_flow
from flowprior.training.state import TrainingState


def train(
    data: Any = None,
    *,
    prior: str | Prior | None = None,
    coupling: str | Coupling | None = None,
    path: str | ProbabilityPath | None = None,
    model: str | nn.Module | None = None,
    latent: str | LatentEncoder | None = None,
    cache: str | Path | bool | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    config: RunConfig | TrainingConfig | str | Path | None = None,
    progress: bool | None = None,
    callbacks: Sequence[str | Callback] = (),
    **training_options: Any,
) -> Flow:
    """Fit the prior, train the velocity model and return the flow with averaged weights.

    What is not given comes from ``config``, and what is not there from the defaults of
    :class:`RunConfig` and :class:`TrainingConfig`.

    Args:
        data: a name or spec string such as ``"digits"``, a ``Data``, a tensor of events ``[N, *event]``, a
            pair (events, condition), or a torch data set of tensors.
        prior: the source distribution; None takes one that suits the condition, and reports which. An
            instance that is fitted already is left as it is.
        coupling: which source sample belongs to which data sample.
        path: the probability path between them.
        model: the velocity network; a module v(x, t, cond) of your own is trained in place.
        latent: encoder to the latents that the flow lives in; its samples are images all the same.
        cache: folder of the encoded data, which other runs may share; None takes ``latents`` in ``out``, or
            memory without ``out``; False takes memory.
        out: directory of the run; without it nothing is written.
        resume: go on with the run in ``out``, or start it where there is none.
        overwrite: replace the run in ``out``, if there is one; what the library did not write stays.
        config: components and options that are not given here; may be the path of a TOML file.
        progress: show how far fit and training have come, in a terminal, a notebook or a log; None does,
            unless the environment variable ``FLOWPRIOR_PROGRESS`` is 0.
        callbacks: told of the run while it goes on, such as ``"tensorboard"``; see
            :class:`~flowprior.training.callbacks.Callback`.
        training_options: fields of :class:`TrainingConfig`, such as ``steps=4000``.

    Raises:
        OptionError: an impossible option, ``out`` holds a run and neither ``resume`` nor ``overwrite`` is
            True, both are, or another process is training there.
        InputError: data that the prior or the model cannot be trained on.
        TrainingDiverged: the loss is not finite; the last good checkpoint stays.
        CheckpointError: a checkpoint cannot be saved, none can be read, or a part has no name to save.
        TrainingInterrupted: Ctrl-C, SIGTERM, SIGUSR1 or the limit ``max_minutes``, after saving a checkpoint;
            a ``SystemExit`` of code 130, 143, 138 or 124.
    """
    given = {"prior": prior, "coupling": coupling, "path": path, "model": model, "latent": latent}
    asked = merged_config(config, training_options, data=data, **given)
    run = None if out is None else RunDirectory(out)
    if resume and overwrite:
        raise OptionError(
            "train: resume=True (--resume) goes on with a run and overwrite=True (--overwrite) replaces it; "
            "choose one of them"
        )
    if run is None and asked.training.max_minutes:
        raise OptionError(
            f"train: max_minutes={asked.training.max_minutes:g} stops a run that goes on later, from its "
            "folder; give one with out (--out)"
        )
    place = _cache_folder(cache, run, asked)
    processes = launched_group(asked.training.device)
    progress = shows_progress(progress) and processes.is_main
    told: list[Callback] = [Callback.registry.resolve(callback) for callback in callbacks]
    for callback in told:
        callback.check(None if run is None else run.path)
    if not processes.is_main:
        told = []
    own = run if processes.is_main else None
    with showing(progress):
        if own is not None:
            own.check(resume, overwrite)
        with stage("read the data and build the network"):
            read = as_data(asked.data if data is None else data)
            resolved = settled_config(asked, read, **given)
            parts = resolve_components(resolved, place, data=read, **given)
        if progress and asked.prior == AUTO:
            _say(
                f"for {read.condition.describe()}: prior {resolved.prior}, coupling {resolved.coupling}, "
                f"prediction {resolved.training.prediction}; name a prior (--prior) to choose another"
            )
        if own is None:  # of several, where the first process refuses the run the launcher ends this one
            return train_parts(parts, processes, run, progress, told, replace=overwrite)
        with own.lock() as lock:
            own.check(resume, overwrite)  # Another process may have trained here since.
            if overwrite and not lock.held:
                raise OptionError(
                    f"train: {own.path} cannot be locked, so that another process may be training there, and "
                    "nothing is replaced; choose another directory"
                )
            if not overwrite:
                own.check_unchanged(resolved)
            if lock.held and not overwrite:
                own.recover()
            return train_parts(parts, processes, run, progress, told, recover=lock.held, replace=overwrite)


def train_parts(
    parts: Components,
    processes: Group,
    run: RunDirectory | None = None,
    progress: bool = False,
    callbacks: Sequence[Callback] = (),
    *,
    recover: bool = False,
    replace: bool = False,
) -> Flow:
    """Train from the newest checkpoint to the saved flow; of several processes the first one alone writes.

    A run that is to be replaced goes when nothing of the new one is refused any more, but for encoded data.

    Args:
        parts: of the run.
        processes: that train together.
        run: where it goes on, or begins; None writes nothing.
        progress: show how far fit and training have come.
        callbacks: told of the run while it goes on.
        recover: True if this process holds the run, and may put what another has left in order.
        replace: True if the run in the folder makes way.

    Raises:
        FlowpriorError: as :func:`flowprior.train`.
    """
    config = parts.config.training
    own = run if processes.is_main else None
    state = _initial_state(parts, processes, run, progress, recover=recover, replace=replace)
    randomness = Randomness(config.seed, parts.device)
    # Before the fit, for sizes that do not fit together are refused here.
    pairs = PairStream(
        parts.data,
        parts.prior,
        parts.coupling,
        config.batch_size,
        randomness,
        state.micro_batches,
        whole=config.pair_within == BATCH,
    )
    fit_seconds = fit_prior(parts, randomness, processes, progress)
    events = every_condition(parts.data).batches(device=parts.device)
    with stage(f"fit coupling {parts.coupling.name}"):
        parts.coupling.fit(parts.prior, events, generator=randomness.generator("coupling fit"))
    if own is not None:
        describe(state.flow())  # What could not be saved after the last step is refused before the first.
        if replace:
            clear_run(own)
        own.create(parts.config)
    if progress:
        _say_what_begins(config, own)
    info = RunInfo(own.info if own else None)
    info.start(parts.device, state.step, fit_seconds, processes=processes.size)
    if isinstance(parts.coupling, ReflowCoupling):
        info.update(**{TEACHER: teacher_of(parts.coupling)})
    with _noting_the_end(info, state), Monitor(state, own, progress, callbacks) as monitor:
        if state.step == 0 and own is not None:
            with stage("measure source samples and pairs"):
                measured = measure_starts(pairs)
            monitor.note(0, "start", prior_fit_seconds=fit_seconds, **measured)
            info.update(**measured)
        measure = None if parts.held is None else Validation(parts.held, randomness).measure
        ahead, own_parts = config.prefetch, state.own_parts
        with Prefetched(pairs, own_parts, ahead, config.steps) if ahead else nullcontext(pairs) as batches:
            run_steps(state, batches, randomness, monitor, run, measure)
        flow = state.flow().to(parts.device)
        if own is not None:
            save_run_flow(flow, own)
        processes.wait()
    return flow


def _initial_state(
    parts: Components,
    processes: Group,
    run: RunDirectory | None,
    progress: bool,
    *,
    recover: bool,
    replace: bool,
) -> TrainingState:
    """Return the state that training goes on from: that of the newest checkpoint, or a new one.

    Of several processes the first one encodes the data, if they are encoded. The arguments are those of
    :func:`train_parts`.
    """
    config = parts.config.training
    # Where a checkpoint has the weights, what they began with is not asked for again.
    if config.init and (replace or run is None or not step_folders(run.checkpoints)):
        start_from = load_point("flowprior.training", "init", "training.init")
        start_from(parts.model, Path(config.init).expanduser())
    state = TrainingState(parts, processes)
    if progress:
        for line in parts.data.remarks:
            _say(line)
    with processes.first_goes_ahead():
        if replace and run is not None and processes.is_main and run.latents.exists():
            _remove_latents(run)
        for data in (parts.data, parts.held):
            if isinstance(data, EncodedData):
                data.prepare(_say if progress else None)
        if run is not None and not replace:
            state.resume(run.checkpoints, recover)
    steps = sorted(set(processes.of_each(state.step)))
    if len(steps) > 1:
        raise OptionError(
            f"train: the processes have read different checkpoints (steps {', '.join(map(str, steps))}); "
            "let all of them read one folder, of a file system that they share"
        )
    if run is not None and state.step and isinstance(parts.coupling, ReflowCoupling):
        check_teacher(parts.coupling, RunInfo(run.info).read().get(TEACHER))
    return state


def fit_prior(
    parts: Components, randomness: Randomness, processes: Group | None = None, progress: bool = False
) -> float | None:
    """Fit the prior if it is not fitted, and check it against path and coupling.

    It becomes the coupling's own prior, where that has one, and is fitted to the data otherwise.
    Of several processes the first one fits it, and sends the others what it has learned.

    Returns:
        Seconds that the fit took, or None if there was nothing to fit.
    """
    seconds = None
    own = teachers_prior(parts.coupling)
    if own is not None and not parts.prior.is_fitted:
        load_plain(parts.prior, {k: v.clone() for k, v in own.state_dict().items()}, assign=True)
    if not parts.prior.is_fitted:
        start = time.perf_counter()
        processes = processes or Group()
        if processes.is_main:
            events = every_condition(parts.data).batches(device=parts.device)
            parts.prior.fit(events, generator=randomness.generator("prior fit"), progress=progress)
        if processes.size > 1:
            fitted = processes.of_first(parts.prior.state_dict())
            if not processes.is_main:  # the first one knows, too, what it was fitted to
                load_plain(parts.prior, fitted, assign=True)
            parts.prior.to(parts.device)
        seconds = time.perf_counter() - start
    parts.path.check(parts.prior)
    parts.coupling.check(parts.prior)
    return seconds


def _cache_folder(cache: str | Path | bool | None, run: RunDirectory | None, asked: RunConfig) -> Path | None:
    """Return the folder of encoded data; None for memory."""
    if isinstance(cache, str | Path):
        if asked.latent == NO_LATENT:
            raise OptionError(
                "train: a cache is for encoded data; choose an encoder with latent (--latent) too"
            )
        return Path(cache).expanduser()
    return run.latents if run is not None and cache is None else None


def _remove_latents(run: RunDirectory) -> None:
    """Remove the encoded data of the run, by the extension that wrote them; without it they stay."""
    try:
        remove = load_point(LATENTS, "remove", "train")
    except OptionError as error:
        _say(f"{run.latents} stays where it is: {error}")
    else:
        remove(run.latents)


def _say_what_begins(config: TrainingConfig, own: RunDirectory | None) -> None:
    """Show where the run is, and that it is short if it ends before the whole warm-up."""
    if own is not None:
        _say(f"the run is in {own.path}")
    if config.warmup > config.steps // 2:
        _say(
            f"{config.steps} steps are short for training.warmup={config.warmup}: the learning rate rises "
            f"over the first {config.steps // 2} of them, and falls from there"
        )


@contextmanager
def _noting_the_end(info: RunInfo, state: TrainingState) -> Iterator[None]:
    """Write down how the run ended, and say so where it was stopped, below the monitor's bar."""
    try:
        yield
    except BaseException as error:
        with suppress(CheckpointError):
            info.end(state.step, ending(error), state.best)
        if isinstance(error, TrainingInterrupted):
            if state.processes.is_main:
                _say(error.message)
            state.processes.wait()  # a launcher ends the others as soon as one has ended
        raise
    info.end(state.step, ending(None), state.best)


def _say(line: str) -> None:
    """Write one line to stderr, above the bars."""
    tqdm.write(line, file=sys.stderr)
