"""The preparation of a run: what ``"auto"`` stands for, the parts from names or instances, and their fit."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

import torch
from torch import nn

from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.couplings.drawing import LeaveOneOutCoupling
from flowprior.data.base import Data, as_data
from flowprior.data.splits import split_validation
from flowprior.errors import CheckpointError, CouplingError, OptionError
from flowprior.flow.description import load_plain
from flowprior.flow.predictions import Prediction, kind_of
from flowprior.models import Encoder, LatentEncoder
from flowprior.models.base import takes_inputs
from flowprior.models.encoders import EncodedData
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.processes.group import Group, compact, process_count
from flowprior.registry.registry import Registered, spec_of
from flowprior.streams.data import every_condition
from flowprior.training.batches import Randomness, mix
from flowprior.training.config import (
    AUTO,
    DEFAULT_PRIOR,
    LATENT_MODEL,
    NO_LATENT,
    STANDARDISE,
    TEXT_DROPOUT,
    RunConfig,
    TrainingConfig,
)
from flowprior.training.config_file import load_config
from flowprior.training.objective import LossWeight, TimeDistribution

DEFAULT_PRIORS = {
    "labels": DEFAULT_PRIOR,
    "embeddings": "learned-mean:covariance=lowrank",
    "tensor": "learned-mean:covariance=diagonal",
    "series": "learned-mean:covariance=lowrank,mapper=linear",
}
"""The prior that suits a kind of condition; ``gaussian`` suits every other kind, and none."""


@dataclass(frozen=True)
class Components:
    """The parts of a run, on its device; the prior may still be unfitted.

    ``held`` are the events that are held out of the training, None if there are none.
    """

    data: Data
    prior: Prior
    coupling: Coupling
    path: Path
    model: nn.Module
    device: torch.device
    config: RunConfig
    held: Data | None = None

    @property
    def encoder(self) -> dict[str, Any]:
        """Return encoder and shape of the images for ``Flow``; nothing if the flow lives in the data."""
        if not isinstance(self.data, EncodedData):
            return {}
        return {"encoder": self.data.encoder, "picture_shape": self.data.images.event_shape}

    @property
    def specs(self) -> dict[str, str]:
        """Return spec strings for ``Flow``; empty where an instance was given."""
        texts = {name: getattr(self.config, name) for name in ("prior", "coupling", "path", "model")}
        return {f"{name}_spec": "" if text.startswith("<") else text for name, text in texts.items()}


def resolve_config(
    config: RunConfig | TrainingConfig | str | FilePath | None, options: dict[str, Any], **parts: Any
) -> RunConfig:
    """Return the configuration of a run, with what each ``"auto"`` stands for; it reads the data.

    Args:
        config: the whole configuration, the training's alone, or the path of a TOML file.
        options: options of the training, which win over ``config``.
        parts: parts by their names, which win over ``config``, too.
    """
    asked, given = merged_config(config, options, **parts), instances(parts)
    return settled(asked, as_data(given.pop("data", asked.data)), **given)[0]


def merged_config(
    config: RunConfig | TrainingConfig | str | FilePath | None, options: dict[str, Any], **parts: Any
) -> RunConfig:
    """Return ``config``, in which given parts and options win over what it says, and that over the defaults.

    An instance is recorded by name and options if they can be read off it, else as ``<ClassName>``.
    """
    if isinstance(config, str | FilePath):
        config = load_config(config)
    base = RunConfig(training=config) if isinstance(config, TrainingConfig) else config or RunConfig()
    given = {name: _record(part) for name, part in parts.items() if part is not None}
    return replace(base, **given, training=replace(base.training, **options))


def instances(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts that are given as instances, not by a name."""
    return {name: part for name, part in parts.items() if part is not None and not isinstance(part, str)}


def settled(config: RunConfig, data: Data | None = None, **given: Any) -> tuple[RunConfig, Prior, Coupling]:
    """Return ``config`` with what each ``"auto"`` stands for, and its prior and its coupling.

    Args:
        config: the configuration, in which instances are recorded.
        data: the data set; None leaves what depends on it.
        given: the parts that were given as instances.
    """
    training = config.training
    if data is not None and training.condition_dropout == AUTO:
        training = replace(training, condition_dropout=TEXT_DROPOUT if data.text_encoder else 0.0)
    if data is not None and config.prior == AUTO:
        config = replace(config, prior=default_prior(data.condition))
    prior = Prior.registry.resolve(given.get("prior", config.prior))
    if config.coupling == AUTO:
        config = replace(config, coupling=prior.suited_coupling)
    coupling = Coupling.registry.resolve(given.get("coupling", config.coupling))
    if training.prediction == AUTO:
        path = Path.registry.resolve(given.get("path", config.path))
        predicted = _prediction_for(prior, coupling, path, given.get("model", config.model))
        training = replace(training, prediction=predicted)
    if training.time == AUTO:
        training = replace(training, time=kind_of(training.prediction).suited_times(coupling))
    if config.latent not in (NO_LATENT, STANDARDISE) and config.model == AUTO:
        config = replace(config, model=LATENT_MODEL)
    return replace(config, training=training), prior, coupling


def default_prior(condition: Condition) -> str:
    """Return the prior that docs/choosing.md recommends for a condition; of several parts for the labels."""
    kinds = {name: "series" if part.is_series else part.kind for name, part in condition.named.items()}
    suited = {name: DEFAULT_PRIORS[kind] for name, kind in kinds.items() if kind in DEFAULT_PRIORS}
    if not suited:
        return "gaussian"
    labels = {name: prior for name, prior in suited.items() if prior == DEFAULT_PRIOR}
    (name, prior), *others = (labels or suited).items()
    return f"{prior}{',' if ':' in prior else ':'}reads={name}" if others else prior


def resolve_components(config: RunConfig, cache: FilePath | None = None, **parts: Any) -> Components:
    """Build what is named, take what is given as an instance, and check that the parts fit together.

    Data for a flow in latents are encoded when they are first asked for: into the folder ``cache``, or into
    memory. Events for validation are held out of them first.

    Args:
        config: the configuration; what each ``"auto"`` stands for is settled here.
        cache: the folder of encoded data; None for memory.
        parts: the parts that were given; of these, instances count.

    Raises:
        FlowpriorError: an unknown name, an impossible option, or parts that do not fit.
    """
    given = instances(parts)
    data, held = as_data(given.pop("data", config.data)), None
    config, prior, coupling = settled(config, data, **given)
    training = config.training
    if training.patience and not (training.validation and training.checkpoint_every):
        raise OptionError(
            f"train: patience={training.patience} waits for a lower loss on held-out events, measured when "
            "a checkpoint is due; set training.validation and training.checkpoint_every above 0, too"
        )
    device = resolve_device(training.device)
    if training.validation:
        spec = data.spec
        data, held = split_validation(data, training.validation, training.seed)
        data.spec = spec  # read by the same name, and divided by the same configuration
    latent = given.get("latent", config.latent)
    if latent != NO_LATENT:
        data = in_latents(data, latent, cache, device)
        if data.encoder.keeps_density and (prior.takes_events or prior.is_fitted):
            raise OptionError(
                f"train: the encoder '{data.encoder.name}' changes the units of the data, and prior "
                f"'{prior.name}' {'is fitted already' if prior.is_fitted else 'takes values of events'}"
                "; standardise data and conditions yourself, or choose another prior"
            )
        if held is not None:
            held = in_latents(held, data.encoder, None if cache is None else cache / "validation", device)
    if isinstance(coupling, LeaveOneOutCoupling) and data.condition_counts is not None:
        raise CouplingError(
            f"coupling 'leave-one-out': events of {data.name} have several conditions each, and would be "
            "left out under one of them alone; couple with 'condot'"
        )
    coupling.sources(data, torch.zeros(1, dtype=torch.long))  # where they are missing, it says so now
    path = Path.registry.resolve(given.get("path", config.path))
    model = given.get("model", config.model)
    if isinstance(model, str):
        prediction = Prediction.create(training.prediction, prior=prior, coupling=coupling, path=path)
        with torch.random.fork_rng(devices=[]):  # by the seed alone, whatever prior and coupling are
            torch.random.default_generator.manual_seed(mix(training.seed, "initial weights"))
            model = prediction.network(model, data.event_shape, data.condition)
    model = model.to(device)
    if training.channels_last:
        model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return Components(data, prior.to(device), coupling, path, model, device, config, held)


def in_latents(
    data: Data, latent: str | LatentEncoder, cache: FilePath | None, device: torch.device
) -> EncodedData:
    """Return ``data`` as the encoder ``latent`` gives them, on ``device``.

    Raises:
        UnknownComponentError: no such encoder.
        OptionError: an encoder of texts.
        InputError: data that it does not take.
    """
    encoder = Encoder.registry.resolve(latent)
    if not isinstance(encoder, LatentEncoder):
        raise OptionError(
            f"train: latent={latent} encodes no images; flowprior list encoders shows those that do"
        )
    return encoder.to(device).encoded(data, cache)


def resolve_device(name: str) -> torch.device:
    """Return the torch device ``name`` stands for.

    Raises:
        OptionError: no such device on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and process_count() > 1 and torch.cuda.is_available():
        name = f"cuda:{torch.cuda.current_device()}"  # each process has one of its own
    try:
        device = torch.device(name)
        torch.empty(1, device=device).tolist()  # the meta device has no numbers to give back
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise OptionError(
            f"training: device='{name}' is not usable: {str(error).splitlines()[0]}; choose 'auto' or 'cpu'"
        ) from error
    return device


def fit_prior(
    parts: Components, randomness: Randomness, processes: Group | None = None, progress: bool = False
) -> float | None:
    """Fit the prior if it is not fitted, and check it against path and coupling.

    The first of several processes fits it, and sends the others what it has learned.

    Returns:
        Seconds that the fit took, or None if there was nothing to fit.
    """
    prior, processes, seconds = parts.prior, processes or Group(), None
    if not prior.is_fitted:
        start = time.perf_counter()
        if processes.is_main:
            events = every_condition(parts.data).batches(device=parts.device)
            prior.fit(events, generator=randomness.generator("prior fit"), progress=progress)
        if processes.size > 1:
            fitted = processes.of_first({name: compact(value) for name, value in prior.state_dict().items()})
            if not processes.is_main:  # the first one knows, too, what it was fitted to
                load_plain(prior, fitted, assign=True)
            prior.to(parts.device)
        seconds = time.perf_counter() - start
    parts.path.check(prior)
    parts.coupling.check(prior)
    return seconds


def times_and_weight(config: TrainingConfig, prediction: Prediction) -> tuple[TimeDistribution, LossWeight]:
    """Return the timestep distribution and the loss weight of ``config``, checked with its prediction.

    Raises:
        OptionError: times or a precision that this prediction cannot be trained with.
    """
    prediction.check_precision(config.precision)
    times = TimeDistribution.registry.resolve(config.time)
    times.check(prediction)
    return times, LossWeight.registry.resolve(config.loss_weight)


def _record(part: Any) -> str:
    """Return name and options of a part; ``<ClassName>`` if they cannot be read off an instance."""
    if isinstance(part, str):
        return part
    if isinstance(part, Data):
        return part.spec or part.name
    if isinstance(part, Registered):
        with suppress(CheckpointError):
            return spec_of(part.registry, part)
    return f"<{type(part).__name__}>"


def _prediction_for(prior: Prior, coupling: Coupling, path: Path, model: str | nn.Module) -> str:
    """Choose the prediction: what the law of the pairs leaves if it is known of a prior made for that."""
    suited = prior.suited_coupling
    if suited == Prior.suited_coupling or not coupling.first.has_law(prior) or path.has_noise:
        return "velocity"
    shown_more = isinstance(model, str) and takes_inputs(model)
    return "preconditioned" if shown_more and suited == "posterior" else "residual"
