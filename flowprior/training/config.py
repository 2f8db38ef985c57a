"""The one configuration tree of a run: what is trained on what, and how."""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from flowprior.errors import OptionError
from flowprior.flow.predictions import check_name
from flowprior.models.base import PRECISIONS
from flowprior.registry import choose, did_you_mean, is_number
from flowprior.training.loss_weights import LossWeight
from flowprior.training.times import TimeDistribution

DEFAULT_PRIOR = "latent-gmm"
DEFAULT_COUPLING = "auto"
"""``posterior`` with a prior that fits the law of its latents, else ``ot``; see :func:`coupling_for`."""
DEFAULT_PREDICTION = "auto"
"""``preconditioned`` where prior and coupling tell the moments of their pairs, else ``velocity``."""
DEFAULT_TIME = "auto"
"""The law of the times that suits the prediction."""
DEFAULT_DROPOUT = "auto"
"""``TEXT_DROPOUT`` for data whose embeddings a text encoder made, else none."""
TEXT_DROPOUT = 0.1
"""Of captions; Ho & Salimans (2022) find 0.1 and 0.2 about equally good."""
NO_LATENT = "none"
"""The flow lives in the data themselves."""
LATENT_MODEL = "unet:patch=1"
"""What the model ``"auto"`` stands for in latents, whose grid is small already."""
COMPILED = ("none", "model")
"""What ``torch.compile`` may make one graph of (:func:`flowprior.training.state.compiled_network`)."""
BATCH = "batch"
"""Source samples are drawn and paired over the whole batch."""
DEFAULT_PATH = "condot"
DEFAULT_MODEL = "auto"

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
        "training.prefetch",
        "training.compile",
    }
)
"""Keys that a resumed run may change without training something else; ``steps`` may only grow."""

_RANGES: dict[str, tuple[float, float]] = {
    "steps": (1, 10**9),
    "batch_size": (1, 10**6),
    "accumulate": (1, 10**6),
    "warmup": (0, math.inf),
    "weight_decay": (0, math.inf),
    "clip": (0, math.inf),
    "seed": (0, 2**63 - 1),
    "log_every": (1, math.inf),
    "sample_every": (0, math.inf),
    "sample_nfe": (1, 10**6),
    "checkpoint_every": (0, math.inf),
    "keep_checkpoints": (1, math.inf),
    "prefetch": (0, 64),
    "validation": (0, math.inf),
    "max_minutes": (0, math.inf),
}
_BELOW_ONE = (lambda value: 0 <= value < 1, "a number in [0, 1)")
_POSSIBLE: dict[str, tuple[Callable[[Any], bool], str]] = {
    "lr": (lambda value: value > 0, "a positive number"),
    **dict.fromkeys(("beta1", "beta2", "ema"), _BELOW_ONE),
    "final_lr": (lambda value: 0 <= value <= 1, "a number in [0, 1]"),
    "condition_dropout": (
        lambda value: value == DEFAULT_DROPOUT or (not isinstance(value, str) and 0 <= value <= 1),
        f"a number in [0, 1], or '{DEFAULT_DROPOUT}'",
    ),
}


@dataclass(frozen=True)
class TrainingConfig:
    """How a flow is trained.

    Attributes:
        steps: optimiser steps.
        batch_size: pairs a step.
        accumulate: micro-batches of equal size that each process looks at in a step, one after the other, so
            that the network needs memory for one of them alone.
        pair_within: where source samples are drawn, and paired by optimal transport: ``"micro-batch"``, by
            each process for itself, or ``"batch"``, the whole batch of a step, as one process without
            ``accumulate`` pairs it. Each process then reads and pairs all of the batch, and keeps its part.
        lr: highest learning rate of AdamW.
        beta1: AdamW's decay of the mean of the gradients.
        beta2: AdamW's decay of the mean of their squares.
        weight_decay: AdamW's decoupled weight decay.
        warmup: steps of linear warm-up, at most half of ``steps``.
        final_lr: learning rate at the last step of the cosine, as a share of ``lr``.
        clip: largest norm of the gradient, applied before the step; 0 switches it off.
        ema: decay of the moving average of the weights, reached by a start-up ramp.
        precision: of the model's forward pass; ``"bfloat16"`` through autocast, path and loss stay float32.
        channels_last: hold weights and pictures in channels-last memory, which is faster for convolutions.
        seed: of everything random: prior fit, model, data order, source samples, times, dropout.
        prediction: of the network: ``"velocity"``; ``"residual"``, what the linear velocity of the pairs'
            moments leaves of it (:mod:`flowprior.couplings.pair_law`); ``"preconditioned"``, the same in
            units of its own standard deviation (:mod:`flowprior.flow.predictions`); ``"average-velocity"``,
            that of an interval of time, from the extension ``few_evaluations``; ``"epsilon"``, DDPM's
            noise, on path ``vp``. ``"auto"`` takes ``"preconditioned"`` where the law of the pairs is
            known and the prior is made for it (``"residual"`` for a network of your own, which is shown
            x_t alone, and for a prior whose :attr:`~flowprior.Prior.suited_coupling` is ``condot``), else
            ``"velocity"``, and is recorded as its choice.
        time: law that the times of a step are drawn from, a name of
            :class:`~flowprior.training.times.TimeDistribution` with its options; ``"auto"`` takes
            ``"logit-normal"`` with prediction ``"preconditioned"``, a law of intervals with
            ``"average-velocity"``, else ``"uniform"``, and is recorded so.
        loss_weight: of the squared errors, a name of
            :class:`~flowprior.training.loss_weights.LossWeight` with its options.
        device: ``"auto"`` (CUDA where there is one), or a torch device such as ``"cuda:1"``.
        condition_dropout: share of conditions replaced by the null condition, for classifier-free guidance.
            ``"auto"`` takes 0.1 for data whose embeddings a text encoder made, else 0, and is recorded so.
        log_every: steps between two lines of metrics.jsonl.
        sample_every: steps between two pictures of samples; 0 for none.
        sample_nfe: evaluations of the velocity for those pictures.
        checkpoint_every: steps between two checkpoints; 0 for the last step's only.
        keep_checkpoints: how many checkpoints stay on the disk.
        compile: what ``torch.compile`` makes one graph of: ``"none"``, or the network, ``"model"``. The first
            step then takes about a minute; what is random inside of the network, such as dropout, is drawn
            otherwise.
        prefetch: micro-batches whose pairs a worker thread prepares ahead, while the network works; the same
            pairs as with 0. Leave it 0 for data that draw from torch's global generators when they are read,
            such as random transforms: what these give would depend on the timing.
        validation: about how many events are held out of the training split, each class giving its share.
            Their loss is measured wherever a checkpoint is due, and the checkpoint where it was lowest is
            kept, too; 0 holds none out.
        init: weights that the network starts with, in place of random ones: the path of a run or saved flow,
            or of a ``.safetensors`` or ``.pt`` file; empty for none. The entry point ``init`` of the group
            ``flowprior.training`` reads them.
        max_minutes: limit of the run's time, from the fit of its prior on: the step under way is finished
            and saved, and the process ends with code 124; 0 for as long as it takes.

    Raises:
        OptionError: a value of another type or out of range.
    """

    steps: int = 2000
    batch_size: int = 128
    accumulate: int = 1
    pair_within: Literal["micro-batch", "batch"] = "micro-batch"
    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.01
    warmup: int = 200
    final_lr: float = 0.01
    clip: float = 1.0
    ema: float = 0.999
    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    seed: int = 0
    prediction: str = DEFAULT_PREDICTION
    time: str = DEFAULT_TIME
    loss_weight: str = "none"
    device: str = "auto"
    condition_dropout: float | Literal["auto"] = DEFAULT_DROPOUT
    log_every: int = 50
    sample_every: int = 500
    sample_nfe: int = 15
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    compile: Literal["none", "model"] = "none"
    prefetch: int = 0
    validation: int = 0
    init: str = ""
    max_minutes: float = 0.0

    def __post_init__(self) -> None:
        _check_types(self, "training")
        choose("training", "precision", self.precision, PRECISIONS)
        choose("training", "compile", self.compile, COMPILED)
        choose("training", "pair_within", self.pair_within, ("micro-batch", BATCH))
        check_name("training", "prediction", self.prediction, DEFAULT_PREDICTION)
        for name, (is_possible, expected) in _POSSIBLE.items():
            if not is_possible(getattr(self, name)):
                raise _bad(name, getattr(self, name), expected)
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise _bad(name, value, f"{least:g} or more" if value < least else f"{most} or less")
        if self.time != DEFAULT_TIME:
            TimeDistribution.registry.resolve(self.time)
        LossWeight.registry.resolve(self.loss_weight)

    @property
    def dropped_share(self) -> float:
        """Share of conditions that are dropped; none where ``"auto"`` is not resolved yet."""
        return 0.0 if isinstance(self.condition_dropout, str) else self.condition_dropout


@dataclass(frozen=True)
class RunConfig:
    """What is trained on what, and how.

    Attributes:
        data: data set, as a name or spec string.
        prior: where the flow starts, as a spec string such as ``"gmm:components=8"``.
        coupling: which source sample belongs to which datum; ``"auto"`` chooses by the prior and is recorded
            as what it chose.
        path: how they are joined.
        model: the velocity network; ``"auto"`` chooses by the shape of the data.
        training: see :class:`TrainingConfig`.
        latent: encoder to the latents that the flow lives in, such as ``"vae"``; ``"none"`` for the data
            themselves.
    """

    data: str = "digits"
    prior: str = DEFAULT_PRIOR
    coupling: str = DEFAULT_COUPLING
    path: str = DEFAULT_PATH
    model: str = DEFAULT_MODEL
    training: TrainingConfig = field(default_factory=TrainingConfig)
    latent: str = NO_LATENT

    def __post_init__(self) -> None:
        _check_types(self, "config")
        refuse_auto("train", self.prior)

    def as_dict(self) -> dict[str, Any]:
        """The tree as plain dictionaries; without the key ``latent`` where the flow lives in the data."""
        tree = asdict(self)
        return tree if self.latent != NO_LATENT else {k: v for k, v in tree.items() if k != "latent"}

    def flat(self) -> dict[str, Any]:
        """Every value under its dotted key, such as ``training.lr``."""
        return flatten(self.as_dict())


def refuse_auto(owner: str, prior: str) -> None:
    """Refuse ``"auto"`` in place of a prior, and name the command that compares priors on the data.

    Raises:
        OptionError: the prior is ``"auto"``.
    """
    if prior == "auto":
        raise OptionError(
            f"{owner}: expected the name of a prior, got 'auto'; run flowprior inspect --data DATA "
            "--prior gmm --prior latent-gmm --coupling ot --coupling posterior, which ends with the command "
            "that trains the best of these"
        )


def training_options(base: TrainingConfig, options: Mapping[str, Any]) -> TrainingConfig:
    """``base`` with some values replaced by keyword.

    Raises:
        OptionError: an unknown name or an impossible value.
    """
    check_keys(options, [f.name for f in fields(TrainingConfig)], "training.")
    return TrainingConfig(**{**asdict(base), **options})


def check_keys(values: Mapping[str, Any], known: list[str], prefix: str = "", owner: str = "config") -> None:
    """Refuse a key that is none of ``known``; ``prefix`` is its section, such as ``"training."``.

    Raises:
        OptionError: the message names the nearest key and all that are known.
    """
    for key in values:
        if key not in known:
            inside = "training" in known and key in TrainingConfig.__dataclass_fields__
            near = f"; did you mean 'training.{key}'?" if inside else did_you_mean(key, known, prefix)
            raise OptionError(f"{owner}: unknown key '{prefix}{key}'{near} known: {', '.join(known)}")


def changed_values(saved: Mapping[str, Any], config: RunConfig) -> list[str]:
    """``key old -> new`` of what a checkpoint's configuration has otherwise and a resumed run may not change.

    Parts without a name, ``<ClassName>``, cannot be compared and are left out.
    """
    old, new = flatten(saved), config.flat()
    return [
        f"{key} {old[key]!r} -> {value!r}"
        for key, value in new.items()
        if key in old.keys() - MAY_CHANGE and old[key] != value and not str(old[key]).startswith("<")
    ]


def _check_types(config: Any, owner: str) -> None:
    """Plain Python types only; an int is taken for a float, a bool never for a number."""
    names = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}
    for name, hint in typing.get_type_hints(type(config)).items():
        value = getattr(config, name)
        kind = next(iter(typing.get_args(hint)), hint)  # a word of a Literal, the first type of a union
        if isinstance(kind, str) or (kind is not hint and isinstance(value, str)):
            kind = str
        if kind is float and type(value) is int and is_number(value):
            object.__setattr__(config, name, value := float(value))
        if type(value) is not kind or (kind is float and not is_number(value)):
            raise OptionError(
                f"{owner}: {name}={value!r} is not possible; expected {names.get(kind, kind.__name__)}"
            )


def _bad(name: str, value: Any, expected: str) -> OptionError:
    return OptionError(f"training: {name}={value!r} is not possible; expected {expected}")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested dictionaries under their dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
