"""``train``: from names, spec strings or instances to a trained flow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from flowprior.couplings import Coupling
from flowprior.encoders import LatentEncoder
from flowprior.errors import OptionError
from flowprior.flow import Flow
from flowprior.paths import Path as ProbabilityPath
from flowprior.priors import Prior
from flowprior.progress import showing, shows_progress, stage
from flowprior.training.callbacks import Callback
from flowprior.training.components import Components, resolve_components, resolve_config
from flowprior.training.config import NO_LATENT, RunConfig, TrainingConfig
from flowprior.training.engine import make_engine
from flowprior.training.from_parts import train_parts
from flowprior.training.run import RunDirectory


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
        prior: where the flow starts; an instance that is fitted already is left as it is.
        coupling: which source sample belongs to which datum.
        path: how they are joined.
        model: the velocity network; a module v(x, t, cond) of your own is trained in place.
        latent: encoder to the latents that the flow lives in; its samples are pictures all the same.
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
    given = {
        "data": data,
        "prior": prior,
        "coupling": coupling,
        "path": path,
        "model": model,
        "latent": latent,
    }
    resolved = resolve_config(config, training_options, **given)
    if resume and overwrite:
        raise OptionError(
            "train: resume=True (--resume) goes on with a run and overwrite=True (--overwrite) replaces it; "
            "choose one of them"
        )
    if _folder(cache) is not None and resolved.latent == NO_LATENT:
        raise OptionError("train: a cache is for encoded data; choose an encoder with latent (--latent) too")
    run = RunDirectory(out) if out is not None else None
    progress = shows_progress(progress)
    place = run.latents if run is not None and cache is None else _folder(cache)
    engine = make_engine(resolved.training.device)
    told: list[Callback] = [Callback.registry.resolve(callback) for callback in callbacks]
    for callback in told:
        callback.check(None if run is None else run.path)
    if run is None:
        _refuse_limit(resolved.training)
    with showing(progress and engine.is_main):
        if not engine.is_main:  # where the first process refuses the run, the launcher ends this one
            parts = _components(resolved, place, given)
            return train_parts(parts, engine, run, replace=overwrite)
        if run is None:
            parts = _components(resolved, place, given)
            return train_parts(parts, engine, None, progress, told)
        run.check(resolved, resume, overwrite)
        parts = _components(resolved, place, given)
        with run.lock() as lock:
            run.check(parts.config, resume, overwrite)  # Another process may have trained here since.
            if overwrite and not lock.held:
                raise OptionError(
                    f"train: {run.path} cannot be locked, so that another process may be training there, and "
                    "nothing is replaced; choose another directory"
                )
            if lock.held and not overwrite:
                run.recover()
            return train_parts(parts, engine, run, progress, told, recover=lock.held, replace=overwrite)


def _components(config: RunConfig, cache: Path | None, given: dict[str, Any]) -> Components:
    with stage("read the data and build the network"):
        return resolve_components(config, cache, **given)


def _refuse_limit(config: TrainingConfig) -> None:
    if config.max_minutes:
        raise OptionError(
            f"train: max_minutes={config.max_minutes:g} stops a run that goes on later, from its folder; "
            "give one with out (--out)"
        )


def _folder(cache: str | Path | bool | None) -> Path | None:
    """The folder that is named; None for memory."""
    return None if cache is None or isinstance(cache, bool) else Path(cache).expanduser()
