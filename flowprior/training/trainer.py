"""The function ``train``: from names, spec strings or instances to the parts of a run and to a flow."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import nn
from tqdm import tqdm

from flowprior.couplings import Coupling
from flowprior.errors import OptionError, TrainingInterrupted
from flowprior.flow import Flow
from flowprior.flow.description import describe
from flowprior.flow.files import step_folders
from flowprior.models import LatentEncoder
from flowprior.models.encoders import LATENTS, EncodedData
from flowprior.paths import Path as ProbabilityPath
from flowprior.priors import Prior
from flowprior.processes.group import Group, launched_group
from flowprior.progress.stages import showing, shows_progress, stage
from flowprior.registry.plugins import load_point
from flowprior.streams.data import every_condition
from flowprior.training.batches import PairStream, Prefetched, measure_starts
from flowprior.training.callbacks import Callback, Monitor, ending
from flowprior.training.components import (
    Components,
    fit_prior,
    merged_config,
    resolve_components,
)
from flowprior.training.config import AUTO, NO_LATENT, RunConfig, TrainingConfig
from flowprior.training.loop import run_steps
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
    place = _cache_folder(cache, run, asked)
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
    processes = launched_group(asked.training.device)
    progress = shows_progress(progress) and processes.is_main
    reporting = [Callback.registry.resolve(callback) for callback in callbacks]
    for callback in reporting:
        callback.check(None if run is None else run.path)
    with showing(progress), ExitStack() as opened:
        if run is not None and processes.is_main:
            run.check(resume, overwrite)
        with stage("read the data and build the network"):
            parts = resolve_components(asked, place, data=data, **given)
        if progress and asked.prior == AUTO:
            chosen = parts.config
            _say(
                f"for {parts.data.condition.describe()}: prior {chosen.prior}, coupling {chosen.coupling}, "
                f"prediction {chosen.training.prediction}; name a prior (--prior) to choose another"
            )
        # Where the first of several processes refuses the run, the launcher ends the others.
        if run is not None and processes.is_main:
            opened.enter_context(run.opened(parts.config, resume, overwrite))
        return train_parts(parts, processes, run, progress, reporting, replace=overwrite)


def train_parts(
    parts: Components,
    processes: Group,
    run: RunDirectory | None = None,
    progress: bool = False,
    callbacks: Sequence[Callback] = (),
    *,
    replace: bool = False,
) -> Flow:
    """Train from the newest checkpoint to the saved flow; of several processes the first one alone writes.

    A run that is to be replaced goes when nothing of the new one is refused any more, but for encoded data.

    Args:
        parts: the parts of the run.
        processes: the processes that train together.
        run: the folder where the run goes on, or begins, and which this process holds; None writes nothing.
        progress: show how far fit and training have come.
        callbacks: what the first process reports to.
        replace: True if the run in the folder makes way.

    Raises:
        FlowpriorError: as :func:`flowprior.train`.
    """
    config, own = parts.config.training, run if processes.is_main else None
    state = _initial_state(parts, processes, run, progress, replace)
    # Before the fit, for sizes that do not fit together are refused here.
    pairs = PairStream(
        parts.data,
        parts.prior,
        parts.coupling,
        config.batch_size,
        state.randomness,
        state.micro_batches,
    )
    fit_seconds = fit_prior(parts, state.randomness, processes, progress)
    events = every_condition(parts.data).batches(device=parts.device)
    with stage(f"fit coupling {parts.coupling.name}"):
        parts.coupling.fit(parts.prior, events, generator=state.randomness.generator("coupling fit"))
    try:
        with ExitStack() as reports:
            measured = (
                {} if own is None else _begin(own, state, pairs, fit_seconds, progress, replace, reports)
            )
            told = callbacks if processes.is_main else ()
            monitor = reports.enter_context(Monitor(state, own, progress, told, measured))
            batches: PairStream | Prefetched = pairs
            if config.prefetch:
                ahead = Prefetched(pairs, state.own_parts, config.prefetch, config.steps)
                batches = reports.enter_context(ahead)
            run_steps(state, batches, monitor, run)
            flow = state.end().to(parts.device)
            if state.is_stale and progress:
                _say(
                    f"stopped after step {state.step} of {config.steps}: the validation loss was lowest "
                    f"after step {flow.metadata['step']}, whose weights the flow has"
                )
            if own is not None:
                save_run_flow(flow, own)
            processes.wait()
    except TrainingInterrupted as stop:
        if processes.is_main:
            _say(stop.message)
        processes.wait()  # a launcher ends the others as soon as one has ended
        raise
    return flow


def _begin(
    run: RunDirectory,
    state: TrainingState,
    pairs: PairStream,
    fit_seconds: float | None,
    progress: bool,
    replace: bool,
    reports: ExitStack,
) -> dict[str, Any]:
    """Make the folder of a run, note its start, and at the end of ``reports`` how it ended.

    Returns:
        What was measured of source samples and pairs, if this is the first step.
    """
    # What could not be saved after the last step is refused before the first.
    describe(state.flow())
    state.parts.prior.state_dict()
    if replace:
        clear_run(run)
    run.create(state.parts.config)
    if progress:
        _say(f"the run is in {run.path}")
    measured: dict[str, Any] = {}
    if state.step == 0:
        with stage("measure source samples and pairs"):
            measured = {"prior_fit_seconds": fit_seconds, **measure_starts(pairs)}
    info = RunInfo(run.info)
    info.start(state.parts.device, state.step, state.processes.size, **measured)
    reports.push(lambda kind, error, trace: info.end(state.step, ending(error), state.best))
    return measured


def _initial_state(
    parts: Components, processes: Group, run: RunDirectory | None, progress: bool, replace: bool
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
    for line in parts.data.remarks if progress else ():
        _say(line)
    with processes.first_goes_ahead():
        if replace and run is not None and processes.is_main and run.latents.exists():
            _remove_latents(run)
        for data in (parts.data, parts.held):
            if isinstance(data, EncodedData):
                data.prepare(_say if progress else None)
        if run is not None and not replace:
            state.resume(run.checkpoints)
    steps = sorted(set(processes.of_each(state.step)))
    if len(steps) > 1:
        raise OptionError(
            f"train: the processes have read different checkpoints (steps {', '.join(map(str, steps))}); "
            "let all of them read one folder, of a file system that they share"
        )
    return state


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


def _say(line: str) -> None:
    """Write one line to stderr, above the bars."""
    tqdm.write(line, file=sys.stderr)
