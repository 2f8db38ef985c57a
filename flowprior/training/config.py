"""The one configuration tree of a run: what is trained on what, and how."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from flowprior.display.shown import short
from flowprior.errors import FlowpriorError, OptionError
from flowprior.registry.options import did_you_mean, expected_by

AUTO = "auto"
"""The value of a key that follows from the data or from other keys; a run records what it stood for."""
DEFAULT_PRIOR = "latent-gmm"
"""The prior of data with labels; :func:`~flowprior.training.components.default_prior` has those of others."""
TEXT_DROPOUT = 0.1
"""The share of captions that is dropped; Ho & Salimans (2022) find 0.1 and 0.2 about equally good."""
NO_LATENT, STANDARDISE = "none", "standardise"
"""The encoders of a flow that lives in the data themselves, and in standardised ones."""
LATENT_MODEL = "unet:patch=1"
"""The model that ``"auto"`` stands for in latents, whose grid is small already."""
DEFAULT_PATH = "condot"

MAY_CHANGE = frozenset(
    {
        "training.steps",
        "training.accumulate",
        "training.device",
        "training.log_every",
        "training.sample_every",
        "training.sample_nfe",
        "training.checkpoint_every",
        "training.keep_checkpoints",
        "training.max_minutes",
        "training.patience",
        "training.prefetch",
        "training.compile",
    }
)
"""The keys that a resumed run may change without training something else; ``steps`` may only grow."""
OPTIONS = ("steps", "seed", "batch_size", "lr", "prediction", "device", "max_minutes")
"""The keys of the training that are options of the command line, too; the others are set by ``--set``."""

S = TypeVar("S")
Size = Annotated[int, Field(ge=1, le=10**6)]
Count = Annotated[int, Field(ge=0)]
Interval = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]

CHECKED = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
"""Values of the right type only (a whole number passes for a float), known keys only."""


def in_one_line(owner: str, section: str = "", file: str = "config") -> Callable[[type[S]], type[S]]:
    """Return a decorator of a part of the tree, which then refuses a value in one line.

    Args:
        owner: begins the message about a value.
        section: precedes the keys of this part, such as ``"training."``.
        file: begins the message about an unknown key.
    """

    def decorated(part: type[S]) -> type[S]:
        build = part.__init__

        @functools.wraps(build)
        def checked(self: S, /, *values: Any, **named: Any) -> None:
            try:
                build(self, *values, **named)
            except ValidationError as error:
                raise _refusal(error, part, owner, section, file) from None

        part.__init__ = checked  # pyright: ignore[reportAttributeAccessIssue]
        return part

    return decorated


def _refusal(error: ValidationError, part: Any, owner: str, section: str, file: str) -> FlowpriorError:
    """Return the first mistake that pydantic has found as an error of one line."""
    refused = error.errors(include_url=False)
    cause = refused[0].get("ctx", {}).get("error")
    if isinstance(cause, FlowpriorError):
        return cause
    key = str(refused[0]["loc"][0])
    if refused[0]["type"] == "unexpected_keyword_argument":
        return unknown_key(key, [field.name for field in fields(part)], section, file)
    expected = ", or ".join(expected_by(each) for each in refused if each["loc"][0] == key)
    place, value = f"{section}{key}".removeprefix(f"{owner}."), short(refused[0]["input"])
    return OptionError(f"{owner}: {place}={value} is not possible; expected {expected}")


@in_one_line("training", "training.")
@dataclass(frozen=True, config=CHECKED)
class TrainingConfig:
    """The settings of a training.

    Raises:
        OptionError: a value of another type or out of range.
    """

    steps: Annotated[int, Field(ge=1, le=10**9)] = 2000
    """Optimiser steps."""
    batch_size: Size = 128
    """Pairs a step."""
    accumulate: Size = 1
    """Micro-batches of equal size that each process takes in a step, one after the other.

    The network needs memory for one of them alone.
    """
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Highest learning rate of AdamW."""
    beta2: Decay = 0.99
    """AdamW's decay of the mean of the squares of the gradients; that of their mean is 0.9."""
    weight_decay: NonNegative = 0.01
    """AdamW's decoupled weight decay."""
    warmup: Count = 200
    """Steps of linear warm-up, at most half of ``steps``."""
    final_lr: Share = 0.01
    """Learning rate at the last step of the cosine, as a share of ``lr``."""
    clip: NonNegative = 1.0
    """Largest norm of the gradient, applied before the step; 0 switches it off."""
    ema: Decay = 0.999
    """Decay of the moving average of the weights, reached by a start-up ramp."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the model's forward pass; ``"bfloat16"`` through autocast, path and loss stay float32."""
    channels_last: bool = False
    """True holds weights and images in channels-last memory, which is faster for convolutions."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    """Seed of everything random: prior fit, model, data order, source samples, times, dropout."""
    prediction: str = AUTO
    """Prediction of the network: velocity, residual, preconditioned, average-velocity or epsilon.

    ``"velocity"``; ``"residual"``, what the linear velocity of the pairs leaves of it
    (:mod:`flowprior.couplings.pair_law`);
    ``"preconditioned"``, the same in units of its own standard deviation
    (:mod:`flowprior.flow.predictions`); ``"average-velocity"``, that of an interval of time, from the
    extension ``few_evaluations``; ``"epsilon"``, DDPM's noise, on path ``vp``. ``"auto"`` takes
    ``"preconditioned"`` where the Gaussian law of the pairs is known and the prior is made for it
    (``"residual"`` for a network of your own, which is shown x_t alone, and for a prior whose
    :attr:`~flowprior.Prior.suited_coupling` is ``condot``), else ``"velocity"``.
    """
    time: str = AUTO
    """Timestep distribution, a name of :class:`~flowprior.training.TimeDistribution` with its options.

    ``"auto"`` takes ``"logit-normal"`` with prediction ``"preconditioned"``, a distribution of intervals with
    ``"average-velocity"``, else ``"uniform"``.
    """
    loss_weight: str = "none"
    """Weight of the squared errors, a name of :class:`~flowprior.training.LossWeight` with its options."""
    device: str = AUTO
    """Device: auto (CUDA if there is one), or a torch device such as cuda:1."""
    condition_dropout: Share | Literal["auto"] = AUTO
    """Share of conditions replaced by the null condition, for classifier-free guidance.

    ``"auto"`` takes 0.1 for data whose embeddings a text encoder made, else 0.
    """
    log_every: Interval = 50
    """Steps between two lines of metrics.jsonl."""
    sample_every: Count = 500
    """Steps between two figures of samples; 0 for none."""
    sample_nfe: Size = 15
    """Evaluations of the velocity for those figures."""
    checkpoint_every: Count = 500
    """Steps between two checkpoints; 0 for the last step's only."""
    keep_checkpoints: Interval = 2
    """The number of checkpoints that stay on the disk."""
    compile: Literal["none", "model"] = "none"
    """The part that ``torch.compile`` compiles: ``"none"``, or the network, ``"model"``.

    The first step then takes about a minute; what is random inside of the network, such as dropout, is drawn
    otherwise.
    """
    prefetch: Annotated[int, Field(ge=0, le=64)] = 0
    """Micro-batches whose pairs a worker thread prepares ahead, while the network works.

    They are the same pairs as with 0. Leave it 0 for data that draw from torch's global generators when they
    are read, such as random transforms: what these give would depend on the timing.
    """
    validation: Count = 0
    """About how many events are held out of the training split, each class giving its share.

    Their loss is measured wherever a checkpoint is due, and the checkpoint where it was lowest is kept, too;
    0 holds none out.
    """
    patience: Count = 0
    """Measurements of that loss without a lower one, after which the training ends.

    Network and flow then have the weights of the step where it was lowest, as they also have after the last
    step; 0 never ends early and keeps the last weights.
    """
    init: str = ""
    """Weights that the network starts with: a run, a saved flow, a ``.safetensors`` or a ``.pt`` file.

    Empty for random ones. The entry point ``init`` of the group ``flowprior.training`` reads them.
    """
    max_minutes: NonNegative = 0.0
    """Time limit in minutes, after which the run is saved and ends with code 124; 0 sets none."""

    @property
    def dropped_share(self) -> float:
        """The share of conditions that are dropped; none where ``"auto"`` is not resolved yet."""
        return 0.0 if isinstance(self.condition_dropout, str) else self.condition_dropout


@in_one_line("config")
@dataclass(frozen=True, config=CHECKED)
class RunConfig:
    """The data, the parts and the training of a run."""

    data: str = "digits"
    """Data set: a name (flowprior list data), name:key=value,… or a path."""
    prior: str = AUTO
    """Source distribution, such as gmm:components=8 (flowprior list priors); auto follows the condition."""
    coupling: str = AUTO
    """Coupling of source and data samples (flowprior list couplings); auto follows the prior."""
    path: str = DEFAULT_PATH
    """Probability path between x0 and x1 (flowprior list paths)."""
    model: str = AUTO
    """Velocity network (flowprior list models); auto follows the shape of the data."""
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    """How it is trained."""
    latent: str = NO_LATENT
    """Encoder to what the flow lives in, such as vae or standardise (flowprior list encoders)."""

    def as_dict(self) -> dict[str, Any]:
        """Return the tree as plain dictionaries; without ``latent`` if the flow lives in the data."""
        tree = asdict(self)
        return tree if self.latent != NO_LATENT else {k: v for k, v in tree.items() if k != "latent"}

    def flat(self) -> dict[str, Any]:
        """Return every value under its dotted key, such as ``training.lr``."""
        return flatten(self.as_dict())


def unknown_key(key: str, known: list[str], section: str = "", owner: str = "config") -> OptionError:
    """Return the error for a key that is none of ``known``, with the nearest and all that are known."""
    inside = "training" in known and key in TrainingConfig.__dataclass_fields__
    near = f"; did you mean 'training.{key}'?" if inside else did_you_mean(key, known, section)
    return OptionError(f"{owner}: unknown key '{section}{key}'{near} known: {', '.join(known)}")


def check_keys(values: Iterable[str], known: list[str], section: str = "", owner: str = "config") -> None:
    """Refuse a key that is none of ``known``; ``section`` precedes it, such as ``"training."``.

    Raises:
        OptionError: the message names the nearest key and all that are known.
    """
    for key in values:
        if key not in known:
            raise unknown_key(key, known, section, owner)


def changed_values(saved: Mapping[str, Any], config: RunConfig) -> list[str]:
    """Return ``key old -> new`` for each value of a run that a resumed run may not change, but does.

    Args:
        saved: the values of the run by their dotted keys; keys that an older version lacked are not compared.
        config: the configuration that it would go on with.
    """
    old, new = ({"latent": NO_LATENT, **flat} for flat in (saved, config.flat()))
    common = [key for key in new if key in old and key not in MAY_CHANGE]
    return [f"{key} {old[key]!r} -> {new[key]!r}" for key in common if old[key] != new[key]]


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested dictionaries under their dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
