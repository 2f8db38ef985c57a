"""The plan of a study: its variants, why some are refused, and the runs of the others, one for each seed.

A run is named after a hash of all that decides its training, and has a key of all that decides its values:
what was changed is run anew, and what was not is found again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from flowprior.couplings import Coupling
from flowprior.errors import FlowpriorError, OptionError
from flowprior.flow.predictions import Prediction, kind_of
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.registry.plugins import package_version
from flowprior.samplers import Sampler
from flowprior.samplers.base import AveragedVelocity
from flowprior.study.grid import Grid, Labels, VariantSpec, grid_from_dict
from flowprior.study.hooks import hook_digest
from flowprior.training.components import settled, times_and_weight
from flowprior.training.config import AUTO, CHECKED, MAY_CHANGE, Count, RunConfig, TrainingConfig
from flowprior.training.run import package_commit

FORMAT = 4
"""The format of plans and result files; formats up to 3 had a list of evaluations."""
EVALUATED = (
    *("nfe", "samples", "guidance", "curve", "evaluation", "conditions", "validation", "values"),
    *("references", "evaluation_seed", "splits"),
)
"""Keys of a grid that decide how a trained run is evaluated."""
FileName = Annotated[str, Field(pattern=r"^\w[^/\\\x00]*$")]
"""A name inside the folder, which leads to no other one."""


@dataclass(frozen=True, config=CHECKED)
class RunName:
    """The seed of a run, the name of its folder, and the key of its values."""

    seed: Count
    name: FileName
    key: FileName


@dataclass(frozen=True, config=CHECKED)
class Variant:
    """One prior, coupling and path, whatever the seed, with what each ``auto`` stands for."""

    label: str
    """The name in the report, such as ``"gmm + ot"``."""
    prior: str
    coupling: str
    path: str
    prediction: str
    trainer: str
    """The function that trains it; empty for ``flowprior.train``."""
    samplers: Annotated[Labels, Field(min_length=1)]
    """Label -> spec of those that evaluate it."""
    skipped: str | None = None
    """Why the library refuses it; None if it does not."""
    refused_samplers: Labels = Field(default_factory=dict)
    """Label -> why this sampler is refused."""
    runs: list[RunName] = Field(default_factory=list)
    """The runs, one for each seed; none if it is skipped."""

    @property
    def specs(self) -> list[str]:
        """The specs of the samplers that can serve it; "auto" may be one of the others."""
        return list(
            dict.fromkeys(s for name, s in self.samplers.items() if name not in self.refused_samplers)
        )


def _grid(given: Any) -> Grid:
    if not isinstance(given, Grid | dict):
        raise ValueError("expected the keys of a grid")
    return given if isinstance(given, Grid) else grid_from_dict(given)


@dataclass(frozen=True, config=CHECKED)
class Plan:
    """A grid with its variants and their runs."""

    grid: Annotated[Grid, BeforeValidator(_grid)]
    variants: Annotated[list[Variant], Field(min_length=1)]
    format: Literal[4] = FORMAT

    @property
    def samplers(self) -> list[str]:
        """The labels of all samplers."""
        return list(dict.fromkeys(label for variant in self.variants for label in variant.samplers))

    @property
    def labels(self) -> list[str]:
        """The labels of the variants that are not skipped."""
        return [variant.label for variant in self.variants if variant.skipped is None]

    @property
    def baseline(self) -> str:
        """The label of the variant that the others are compared with; spaces in the grid's do not count.

        Raises:
            OptionError: there is no variant of this label.
        """
        wanted, labels = "".join(self.grid.baseline.split()).lower(), self.labels
        if not wanted:
            usual = ("gaussian", "condot", "condot")
            found = [v.label for v in self.variants if (v.prior, v.coupling, v.path) == usual]
            return [*found, *labels, ""][0]
        for label in labels:
            if "".join(label.split()).lower() == wanted:
                return label
        raise OptionError(
            f"compare: no variant '{self.grid.baseline}' for a baseline; there is {', '.join(labels)}"
        )

    @property
    def refused(self) -> list[dict[str, Any]]:
        """Variants, and samplers of one, that are refused: the sampler is None for all, with the reason."""
        return [
            {"variant": variant.label, "sampler": sampler, "reason": reason}
            for variant in self.variants
            for sampler, reason in {None: variant.skipped, **variant.refused_samplers}.items()
            if reason
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the content of plan.json."""
        variants = [asdict(variant) for variant in self.variants]
        return {"format": self.format, "grid": self.grid.as_dict(), "variants": variants}

    def runs(self) -> list[StudyRun]:
        """Return the runs, seed by seed: an interrupted study can be compared.

        A run comes once: the coupling ``auto`` may stand for one that the grid names, too.
        """
        every = [StudyRun(self.grid, variant, own) for variant in self.variants for own in variant.runs]
        ordered = sorted(every, key=lambda run: self.grid.seeds.index(run.seed))
        return list({run.place: run for run in ordered}.values())


class StudyRun:
    """One training run, and what is asked of it.

    Attributes:
        grid: of the study.
        variant: what is trained.
        place: name of its folder, and key of its values.
        seed: of training and evaluation.
        config: what is trained, and how.
        curve: steps at which the flow on the way is evaluated.
    """

    def __init__(self, grid: Grid, variant: Variant, own: RunName) -> None:
        self.grid, self.variant = grid, variant
        self.seed, self.place = own.seed, (own.name, own.key)
        self.config = config_of(grid, variant, own.seed)
        served = next(iter(variant.samplers)) not in variant.refused_samplers
        self.curve = grid.curve.steps(self.config.training.steps) if served else []

    @property
    def title(self) -> str:
        """The name of the run in messages."""
        return f"{self.variant.label}, seed {self.seed}"

    @property
    def setting(self) -> dict[str, Any]:
        """The settings that decide the training, as flat plain values."""
        flat = {key.removeprefix("training."): value for key, value in deciding(self.config).items()}
        return {"label": self.variant.label} | flat | {"trainer": self.variant.trainer}


def config_of(grid: Grid, variant: Variant, seed: int) -> RunConfig:
    """Return the configuration of a training; it has regular checkpoints if the grid has a curve."""
    training = grid.training_of(variant.label)
    every = grid.curve.every(training.steps)
    points = {"checkpoint_every": every, "keep_checkpoints": 1_000_000} if every else {}
    training = replace(training, seed=seed, prediction=variant.prediction, **points)
    parts = (variant.prior, variant.coupling, variant.path)
    return settled(RunConfig(grid.data, *parts, grid.model, training, grid.latent))[0]


def deciding(config: RunConfig) -> dict[str, Any]:
    """Return the dotted keys that decide the training; the others may change where a run is resumed."""
    free = MAY_CHANGE - {"training.steps", "training.patience"}
    return {key: value for key, value in config.flat().items() if key not in free}


def variants(grid: Grid) -> list[Variant]:
    """Return the variants of a grid without their runs, and why the library refuses some.

    Raises:
        OptionError: the curve cannot be drawn.
    """
    return [_variant(grid, label, spec) for label, spec in grid.variants.items()]


def _variant(grid: Grid, label: str, spec: VariantSpec) -> Variant:
    training = grid.training_of(label)
    config = RunConfig(grid.data, spec.prior, spec.coupling, spec.path, grid.model, training, grid.latent)
    config, _, coupling = settled(config)
    names = {sampler: name for name, sampler in grid.samplers.items()}
    samplers = {names.get(spec.sampler, spec.sampler): spec.sampler} if spec.sampler else grid.samplers
    prediction = config.training.prediction
    suited = kind_of(prediction).suited_sampler(coupling)
    found = Variant(
        label=label,
        prior=config.prior,
        coupling=config.coupling,
        path=config.path,
        prediction=prediction,
        trainer=spec.trainer or grid.trainer,
        samplers={name: suited if sampler == AUTO else sampler for name, sampler in samplers.items()},
    )
    if skipped := refusal(_check_parts, found, config.training):
        return replace(found, skipped=skipped)
    reasons = {name: refusal(_check_sampler, found, s, grid.nfe) for name, s in found.samplers.items()}
    refused = {name: reason for name, reason in reasons.items() if reason}
    if len(refused) == len(reasons):
        return replace(found, skipped=next(iter(refused.values())))
    first, sampler = next(iter(found.samplers.items()))
    if grid.curve.points and first not in refused:
        reason = refusal(_check_sampler, found, sampler, grid.curve.nfe)
        if reason:
            raise OptionError(f"compare: curve.nfe={list(grid.curve.nfe)} is not possible: {reason}")
    return replace(found, refused_samplers=refused)


def plan_grid(grid: Grid, identity: Mapping[str, Any]) -> Plan:
    """Return the plan of a grid.

    Args:
        grid: of the study.
        identity: what :meth:`Splits.identity` returns of its data.

    Raises:
        OptionError: nothing of the grid can be run, its curve cannot be drawn, or an unknown baseline.
    """
    planned = [
        variant if variant.skipped else replace(variant, runs=_runs(grid, variant, identity))
        for variant in variants(grid)
    ]
    plan = Plan(grid, planned)
    if not plan.labels:
        raise OptionError(f"compare: no combination of the grid is possible: {planned[0].skipped}")
    _ = plan.baseline
    return plan


def _runs(grid: Grid, variant: Variant, identity: Mapping[str, Any]) -> list[RunName]:
    """Return the run of each seed; its name and its key follow from all that decides it."""
    tree, found = grid.as_dict(), []
    own = {name: identity[name] for name in identity if name not in grid.references}
    shared = {
        "flowprior": package_version(),
        "commit": package_commit(),
        "identity": own,
        "curve": grid.curve.every(grid.training_of(variant.label).steps),
        "trainer": (variant.trainer, hook_digest(variant.trainer)),
    }
    evaluated = {
        "format": FORMAT,
        "samplers": variant.specs,
        "hook": hook_digest(grid.values),
        "others": {name: identity[name] for name in grid.references},
        **{name: tree[name] for name in EVALUATED},
    }
    parts = [spec.partition(":")[0] for spec in (variant.prior, variant.coupling, variant.path)]
    for seed in grid.seeds:
        training = _hash({**shared, **deciding(config_of(grid, variant, seed))})
        name = f"{'+'.join(parts)}-seed{seed}-{training[:10]}"
        found.append(RunName(seed, name, _hash({"training": training, **evaluated})[:10]))
    return found


def _hash(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def refusal(check: Callable[..., Any], *arguments: Any) -> str | None:
    """Return why this call is refused, in one line; None if it is not."""
    try:
        check(*arguments)
    except FlowpriorError as error:
        return " ".join(str(error).split())
    return None


def _check_parts(variant: Variant, training: TrainingConfig) -> None:
    """Check that this combination can be trained."""
    prior, coupling, path = _parts(variant)
    path.check(prior)
    coupling.check(prior)
    prediction = Prediction.create(variant.prediction, prior=prior, coupling=coupling, path=path)
    times_and_weight(training, prediction)
    drawn, batch_size = coupling.draw_size(training.batch_size), training.batch_size
    if drawn < batch_size or drawn % batch_size:
        raise OptionError(f"the coupling draws {drawn} pairs at once, no multiple of batch_size={batch_size}")


def _check_sampler(variant: Variant, spec: str, counts: Sequence[int]) -> None:
    """Check that a sampler can serve this variant with some of ``counts`` evaluations."""
    prior, coupling, path = _parts(variant)
    generator = torch.Generator().manual_seed(0)
    sampler = Sampler.registry.resolve(spec)
    sampler = sampler.prepare(path, prior, coupling, variant.prediction, generator=generator)
    spent = [] if sampler.adaptive else [count for count in counts if count]  # 0 is the prior alone
    reasons = [refusal(lambda n: sampler.solve(ZERO, torch.zeros(1, 1), nfe=n), count) for count in spent]
    if reasons and all(reasons):
        raise OptionError(reasons[0])


def _parts(variant: Variant) -> tuple[Prior, Coupling, Path]:
    return (
        Prior.registry.resolve(variant.prior),
        Coupling.registry.resolve(variant.coupling),
        Path.registry.resolve(variant.path),
    )


def _zeros(x: torch.Tensor, *_: Any) -> torch.Tensor:
    return torch.zeros_like(x)


ZERO = AveragedVelocity(_zeros, _zeros)
"""A velocity of zero."""
