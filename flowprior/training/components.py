"""From names, spec strings or instances to the parts of a run, and the configuration that records them.

What ``"auto"`` stands for is chosen here, too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

import torch
from torch import nn

from flowprior.conditions import Condition
from flowprior.couplings import Coupling, LeaveOneOutCoupling, ReflowCoupling
from flowprior.data import as_data, split_validation
from flowprior.data.base import Data
from flowprior.errors import CheckpointError, CouplingError, OptionError, UnknownComponentError
from flowprior.flow.predictions import Prediction, kind_of, make_prediction
from flowprior.models import EncodedData, Encoder, LatentEncoder, build_model
from flowprior.models.base import takes_inputs, warn_of_emulation
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.processes import process_count
from flowprior.registry import spec_of
from flowprior.training.batches import mix
from flowprior.training.config import (
    DEFAULT_COUPLING,
    DEFAULT_DROPOUT,
    DEFAULT_MODEL,
    DEFAULT_PREDICTION,
    DEFAULT_TIME,
    LATENT_MODEL,
    NO_LATENT,
    TEXT_DROPOUT,
    RunConfig,
    TrainingConfig,
    training_options,
)
from flowprior.training.config_file import load_config
from flowprior.training.loss_weights import LossWeight
from flowprior.training.rectifying import load_teacher, with_origin
from flowprior.training.times import TimeDistribution

PARTS = ("data", "prior", "coupling", "path", "model", "latent")


@dataclass(frozen=True)
class Components:
    """The parts of a run, on its device; the prior may still be unfitted.

    ``held`` are events that are held out of the training, None where there are none.
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
        """Encoder and shape of the pictures for ``Flow``; nothing where the flow lives in the data."""
        if not isinstance(self.data, EncodedData):
            return {}
        return {"encoder": self.data.encoder, "picture_shape": self.data.images.event_shape}

    @property
    def specs(self) -> dict[str, str]:
        """Spec strings for ``Flow``; empty where an instance was given."""
        texts = {name: getattr(self.config, name) for name in ("prior", "coupling", "path", "model")}
        return {f"{name}_spec": "" if text.startswith("<") else text for name, text in texts.items()}


def resolve_config(
    config: RunConfig | TrainingConfig | str | FilePath | None, options: dict[str, Any], **parts: Any
) -> RunConfig:
    """The configuration of a run: explicit parts and options win over ``config``, that over the defaults.

    ``config`` may be the path of a TOML file. An instance is recorded by name and options where
    they can be read off it, else as ``<ClassName>``; the coupling ``"auto"`` and the
    prediction ``"auto"`` as what they stand for, and ``reflow`` with its ``origin``.
    """
    if isinstance(config, str | FilePath):
        config = load_config(config)
    base = RunConfig(training=config) if isinstance(config, TrainingConfig) else config or RunConfig()
    given = {name: _record(part) for name, part in parts.items() if part is not None}
    config = replace(base, **given, training=training_options(base.training, options))
    return choose_defaults(config, parts.get("prior"), parts.get("coupling"), parts.get("model"))


def resolve_components(config: RunConfig, cache: FilePath | None = None, **parts: Any) -> Components:
    """Build what is named, take what is given as an instance, and check that the parts fit together.

    The condition dropout ``"auto"`` follows the data, and is recorded as what it stands for. Data for a flow
    in latents are encoded when they are first asked for: into the folder ``cache``, or into memory.
    Events for validation are held out of them first.

    Raises:
        FlowpriorError: an unknown name, an impossible option, or parts that do not fit.
    """
    device = resolve_device(config.training.device)
    warn_of_emulation("training", config.training.precision, device)
    given = {name: part for name, part in parts.items() if part is not None}
    if isinstance(given.get("coupling"), str):
        del given["coupling"]  # the configuration has it, with what "auto" stands for
    chosen = {name: given.get(name, getattr(config, name)) for name in PARTS}
    data = as_data(chosen["data"])
    if config.training.condition_dropout == DEFAULT_DROPOUT:
        dropped = 0.0 if data.text_encoder is None else TEXT_DROPOUT
        config = replace(config, training=replace(config.training, condition_dropout=dropped))
    held = None
    if config.training.validation:
        spec = data.spec
        data, held = split_validation(data, config.training.validation, config.training.seed)
        data.spec = spec  # read by the same name, and divided by the same configuration
    data = in_latents(data, chosen["latent"], cache, device)
    if held is not None and isinstance(data, EncodedData):
        held = in_latents(held, data.encoder, None if cache is None else cache / "validation", device)
    prior = Prior.registry.resolve(chosen["prior"])
    coupling = resolve_coupling(chosen["coupling"])
    if isinstance(coupling, LeaveOneOutCoupling) and data.condition_counts is not None:
        raise CouplingError(
            f"coupling 'leave-one-out': events of {data.name} have several conditions each, and would be "
            "left out under one of them alone; couple with 'condot'"
        )
    load_teacher(coupling, prior, data, device)
    path = Path.registry.resolve(chosen["path"])
    model = chosen["model"]
    if isinstance(model, str):
        undecided = config.training.prediction == DEFAULT_PREDICTION
        name = "velocity" if undecided else config.training.prediction
        prediction = make_prediction(name, prior, coupling, path)
        model = seeded_model(model, data, config.training.seed, prediction.network)
    model = model.to(device)
    if config.training.channels_last:
        model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return Components(data, prior.to(device), coupling, path, model, device, config, held)


def in_latents(data: Data, latent: str | LatentEncoder, cache: FilePath | None, device: torch.device) -> Data:
    """``data`` as the encoder ``latent`` gives them, on ``device``; as they are where it is ``"none"``.

    Raises:
        UnknownComponentError: no such encoder.
        OptionError: an encoder of texts.
        InputError: data that it does not take.
    """
    if latent == NO_LATENT:
        return data
    encoder = Encoder.registry.resolve(latent)
    if not isinstance(encoder, LatentEncoder):
        makers: dict[str, Any] = {name: Encoder.record(name).factory for name in Encoder.available()}
        known = [
            name
            for name, made in makers.items()
            if isinstance(made, type) and issubclass(made, LatentEncoder)
        ]
        raise OptionError(f"train: latent={latent} encodes no pictures; choose one of {', '.join(known)}")
    return encoder.to(device).encoded(data, cache)


def seeded_model(
    spec: str, data: Data, seed: int, build: Callable[[str, torch.Size, Condition], nn.Module] = build_model
) -> nn.Module:
    """The network ``spec`` names, initialised by ``seed`` alone, whatever prior and coupling are.

    Args:
        spec: name and options of the network.
        data: whose events and conditions it takes.
        seed: of the run.
        build: makes it of spec, shape of the events and condition.
    """
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(mix(seed, "initial weights"))
        return build(spec, data.event_shape, data.condition)


def resolve_device(name: str) -> torch.device:
    """The torch device ``name`` stands for.

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


def choose_defaults(
    config: RunConfig,
    prior: str | Prior | None,
    coupling: str | Coupling | None,
    model: str | nn.Module | None = None,
) -> RunConfig:
    """``config`` with what its ``"auto"`` stand for, given prior, coupling and model as they came."""
    start = Prior.registry.resolve(prior or config.prior)
    config = replace(config, coupling=_coupling_for(start, config.coupling, coupling))
    paired = coupling if isinstance(coupling, Coupling) else resolve_coupling(config.coupling)
    training = config.training
    if training.prediction == DEFAULT_PREDICTION:
        network = config.model if model is None else model
        training = replace(training, prediction=_prediction_for(start, paired, network))
    if training.time == DEFAULT_TIME:
        training = replace(training, time=kind_of(training.prediction).suited_times(paired))
    if config.latent != NO_LATENT and config.model == DEFAULT_MODEL:
        config = replace(config, model=LATENT_MODEL)
    return replace(config, training=training)


def resolve_coupling(coupling: str | Coupling) -> Coupling:
    """The coupling that is named or given.

    Raises:
        UnknownComponentError: no such name; of those that ``train`` takes, ``"auto"`` is named too.
    """
    try:
        return Coupling.registry.resolve(coupling)
    except UnknownComponentError as error:
        raise UnknownComponentError(f"{error}, and '{DEFAULT_COUPLING}' for what suits the prior") from None


def times_and_weight(
    config: TrainingConfig, prediction: Prediction, coupling: Coupling
) -> tuple[TimeDistribution, LossWeight]:
    """The law of the times and the weight of the losses that ``config`` names, checked with its prediction.

    Args:
        config: with the prediction's name; ``time="auto"`` is what suits it and the coupling.
        prediction: of that name.
        coupling: of the run.

    Raises:
        OptionError: times, a weight or a precision that this prediction cannot be trained with.
    """
    prediction.check_precision(config.precision)
    suited = prediction.suited_times(coupling)
    times = TimeDistribution.registry.resolve(suited if config.time == DEFAULT_TIME else config.time)
    times.check(prediction)
    weight = LossWeight.registry.resolve(config.loss_weight)
    weight.check(config.prediction)
    return times, weight


def _record(part: Any) -> str:
    """Name and options of a part; ``<ClassName>`` where they cannot be read off an instance."""
    if isinstance(part, str):
        return part
    if isinstance(part, Data):
        return part.name
    for family in (Prior, Coupling, Path, Encoder):
        if isinstance(part, family):
            with suppress(CheckpointError):
                return spec_of(family.registry, part)
    return f"<{type(part).__name__}>"


def _coupling_for(prior: Prior, spec: str, given: str | Coupling | None) -> str:
    """What is recorded of the coupling; one of ``reflow`` that is ``given`` learns its origin here."""
    if spec == DEFAULT_COUPLING:
        return prior.suited_coupling
    if isinstance(given, Coupling) and not isinstance(given, ReflowCoupling):
        return spec
    found = with_origin(spec)
    if isinstance(given, ReflowCoupling):
        given.origin = Coupling.registry.parse(found).options.get("origin", given.origin)
    return found


def _prediction_for(prior: Prior, coupling: Coupling, model: str | nn.Module) -> str:
    """Choose the prediction: what the law of the pairs leaves if it is known of a prior made for that."""
    suited = prior.suited_coupling
    if suited == Prior.suited_coupling or not coupling.first.has_law(prior):
        return "velocity"
    shown_more = isinstance(model, str) and takes_inputs(model)
    return "preconditioned" if shown_more and suited == "posterior" else "residual"
