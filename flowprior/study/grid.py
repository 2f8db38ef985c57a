"""The grid of a study: what is varied, what is held equal, how the flows are evaluated; and its TOML file.

A grid names its variants, or axes of priors, couplings and paths whose combinations are its variants.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tomli_w
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from pydantic.dataclasses import dataclass

from flowprior.couplings import Coupling
from flowprior.errors import OptionError
from flowprior.evaluation.evaluating import NFE
from flowprior.evaluation.result import REAL_DATA
from flowprior.flow.conditioning import check_guidance
from flowprior.flow.predictions import kind_of
from flowprior.models.base import MODELS
from flowprior.paths import Path as ProbabilityPath
from flowprior.priors import Prior
from flowprior.registry import Registry
from flowprior.samplers import Sampler
from flowprior.study.hooks import check_hook
from flowprior.training.config import (
    AUTO,
    CHECKED,
    DEFAULT_PATH,
    DEFAULT_PRIOR,
    NO_LATENT,
    Count,
    Interval,
    TrainingConfig,
    check_keys,
    in_one_line,
)
from flowprior.training.config_file import read_tree

REGISTRIES: dict[str, Registry[Any]] = {
    "prior": Prior.registry,
    "coupling": Coupling.registry,
    "path": ProbabilityPath.registry,
    "sampler": Sampler.registry,
}
COMBINED = ("priors", "couplings", "paths")
"""The axes whose combinations are the variants of a grid that names none."""
DECIDED_BY_GRID = {
    "seed": "write seeds = [0, 1, 2] in the grid (--seeds 3)",
    "keep_checkpoints": "it follows from curve.points",
}
"""Keys of :class:`TrainingConfig` that a grid does not have, and what to do instead."""
EVALUATION = ("metrics", "features", "batch_size", "classifier", "members")
"""Options of :func:`flowprior.evaluate` that a grid has; the others follow from its keys."""
OwnSplit = Literal["test", "validation"]
"""A split of the grid's own data."""
MOST_SEEDS = 100_000
"""The largest n of ``seeds = n``."""
Labels = dict[str, str]
"""Label -> spec string, in the order in which the report shows them."""


def canonical(part: str, spec: str) -> str:
    """Return a spec, built once as a check, with the component's own name in place of an alias."""
    spec = spec.strip()
    if part == "prior" and spec == AUTO:
        raise OptionError(
            "compare: expected the name of a prior, got 'auto'; run flowprior inspect --data DATA "
            "--prior gmm --prior latent-gmm --coupling ot --coupling posterior, which ranks them on the data"
        )
    if spec in ("", AUTO):
        return spec
    REGISTRIES[part].resolve(spec)
    name, colon, options = spec.partition(":")
    return f"{REGISTRIES[part].record(name.strip()).name}{colon}{options}".rstrip(":")


def labelled(axis: str, given: Any) -> Labels:
    """Return label -> spec of an axis such as ``"priors"``; every spec is built once as a check.

    ``given`` is a mapping of labels to specs, or a list of ``spec`` or ``label=spec``. A spec without a label
    is called by its component's name where that is unambiguous, else by itself.
    """
    texts = list(given.values() if isinstance(given, Mapping) else given if isinstance(given, list) else [])
    if not texts or not all(isinstance(text, str) for text in texts):
        raise OptionError(
            f"compare: {axis}={given!r} is not possible; give a list of specs such as 'name:key=value', one "
            "or more"
        )
    pairs = given.items() if isinstance(given, Mapping) else map(split_label, given)
    found = [(label, canonical(axis.removesuffix("s"), text)) for label, text in pairs]
    specs = [spec for _, spec in found]
    names = [spec.partition(":")[0] for spec in specs]
    labels = [
        label or (name if names.count(name) == 1 else spec)
        for (label, spec), name in zip(found, names, strict=True)
    ]
    for value in (*specs, *labels):
        if max(specs.count(value), labels.count(value)) > 1:
            raise OptionError(f"compare: {axis} names '{value}' twice; leave one out")
    return dict(zip(labels, specs, strict=True))


def split_label(text: str) -> tuple[str, str]:
    """Return label and spec of ``label=spec`` or ``spec``; after a colon the equals sign is an option's."""
    head, equals, tail = text.partition("=")
    return (head.strip(), tail.strip()) if equals and ":" not in head else ("", text)


def combinations(axes: Mapping[str, Any] | None = None) -> dict[str, Labels]:
    """Return label -> parts of every prior × coupling × path; several paths are part of the labels.

    Args:
        axes: ``priors``, ``couplings`` and ``paths`` as :func:`labelled` takes them; those left out have
            defaults.
    """
    usual = {
        "priors": ["gaussian", DEFAULT_PRIOR],
        "couplings": ["condot", "ot", "posterior"],  # left out where a prior has no latents
        "paths": [DEFAULT_PATH],
    }
    priors, couplings, paths = (labelled(axis, {**usual, **(axes or {})}[axis]) for axis in COMBINED)
    return {
        " + ".join([prior, coupling, *([path] if len(paths) > 1 else [])]): {
            "prior": priors[prior],
            "coupling": couplings[coupling],
            "path": paths[path],
        }
        for prior, coupling, path in product(priors, couplings, paths)
    }


def _own_training(given: Any) -> dict[str, Any]:
    """Return the keys of the training that a variant has for itself, checked."""
    own = dict(_section("variants.LABEL.training", given))
    check_keys(own, [field.name for field in fields(TrainingConfig)], "training.", owner="compare")
    _training(own)
    if own.get("prediction", AUTO) != AUTO:
        kind_of(own["prediction"])
    return own


@in_one_line("compare", "variant.", "compare")
@dataclass(frozen=True, config=CHECKED)
class VariantSpec:
    """The parts of a variant; what is left out is what :func:`flowprior.train` would take."""

    prior: Annotated[str, AfterValidator(partial(canonical, "prior"))] = DEFAULT_PRIOR
    """Source distribution."""
    coupling: Annotated[str, AfterValidator(partial(canonical, "coupling"))] = AUTO
    """Coupling of source and data samples."""
    path: Annotated[str, AfterValidator(partial(canonical, "path"))] = DEFAULT_PATH
    """Probability path between x0 and x1."""
    training: Annotated[dict[str, Any], BeforeValidator(_own_training)] = Field(default_factory=dict)
    """Keys of the training that this variant has in place of the grid's, such as prediction, time or lr."""
    sampler: Annotated[str, AfterValidator(partial(canonical, "sampler"))] = ""
    """The only sampler that evaluates it; empty for those of the grid."""
    trainer: Annotated[str, AfterValidator(partial(check_hook, "trainer"))] = ""
    """The function that trains it, as ``package.module:function``; empty for that of the grid."""


def _distinct(values: tuple[Any, ...], key: ValidationInfo) -> tuple[Any, ...]:
    if not values or len(set(values)) < len(values):
        name = key.field_name
        raise OptionError(f"compare: {name}: expected one value or more, each once, got {list(values)}")
    return values


Counts = Annotated[tuple[Count, ...], Field(strict=False), AfterValidator(_distinct)]
Samples = Annotated[int, Field(ge=2)]


@in_one_line("compare", "curve.", "compare")
@dataclass(frozen=True, config=CHECKED)
class Curve:
    """Quality at fixed NFE against training steps."""

    points: Count = 6
    """Checkpoints, spread evenly over the steps, the last one included; 0 for no curve."""
    nfe: Annotated[tuple[Interval, ...], Field(strict=False), AfterValidator(_distinct)] = (4, 15)
    """Evaluations of the velocity at each of them."""
    samples: Samples = 500
    """The number of samples that are evaluated at each."""

    def every(self, budget: int) -> int:
        """Return the steps between two points, for a budget of so many; 0 for no curve."""
        return budget // min(self.points, budget) if self.points else 0

    def steps(self, budget: int) -> list[int]:
        """Return the steps at which the curve has points; the last one is the budget."""
        points = min(self.points, budget)
        return [self.every(budget) * point for point in range(1, points)] + [budget] * (points > 0)


def _section(name: str, given: Any) -> Mapping[str, Any]:
    """Return a section of a file, checked to be one."""
    if not isinstance(given, Mapping):
        raise OptionError(f"compare: {name} is a section of keys, got {given!r}; write [{name}]")
    return given


def _curve(given: Any) -> Curve:
    return given if isinstance(given, Curve) else Curve(**_section("curve", given))


def _training(given: Any) -> TrainingConfig:
    """Return the budget of every run: no samples on the way, and the share of dropped conditions a number."""
    if not isinstance(given, TrainingConfig):
        for name, advice in DECIDED_BY_GRID.items():
            if name in _section("training", given):
                raise OptionError(f"compare: training.{name} is no key of a grid; {advice}")
        given = replace(TrainingConfig(sample_every=0), **given)
    return replace(given, condition_dropout=given.dropped_share)


def _variants(given: Any) -> dict[str, VariantSpec]:
    if not _section("variants", given):
        raise OptionError(
            "compare: variants names none; write one or more, or leave it out for the usual ones"
        )
    if REAL_DATA in given:
        raise OptionError(
            f"compare: variants.'{REAL_DATA}' is not possible: real data have this name; choose another"
        )
    return {
        label: own if isinstance(own, VariantSpec) else VariantSpec(**_section("variants.LABEL", own))
        for label, own in given.items()
    }


def _model(spec: str) -> str:
    if MODELS.parse(spec).name != AUTO:
        MODELS.record(MODELS.parse(spec).name)
    return spec


def _references(given: Labels) -> Labels:
    if taken := given.keys() & set(get_args(OwnSplit)):
        raise OptionError(f"compare: references.{taken.pop()} is the grid's own split; choose another name")
    return given


def _evaluation(given: dict[str, Any]) -> dict[str, Any]:
    check_keys(given, list(EVALUATION), "evaluation.", owner="compare")
    return given


def _seeds(given: Any) -> Any:
    return list(range(given)) if type(given) is int and 0 < given <= MOST_SEEDS else given


@in_one_line("compare", file="compare")
@dataclass(frozen=True, config=CHECKED)
class Grid:
    """Everything of a study but where it is written.

    Raises:
        OptionError: an impossible value, or an axis without a component or with one that is named twice.
        UnknownComponentError: a name that is not registered.
    """

    data: str = "digits"
    """Data set, as a name or spec string; its test split is the reference."""
    model: Annotated[str, AfterValidator(_model)] = AUTO
    """The velocity network, the same in every run."""
    latent: str = NO_LATENT
    """Encoder to the latents that the flows live in, such as ``"vae"``; ``"none"`` for the data."""
    variants: Annotated[dict[str, VariantSpec], BeforeValidator(_variants)] = Field(
        default_factory=lambda: _variants(combinations())
    )
    """Label -> parts; a file may name ``priors``, ``couplings`` and ``paths``, to be combined, instead."""
    samplers: Annotated[Labels, BeforeValidator(partial(labelled, "samplers"))] = Field(
        default_factory=lambda: {AUTO: AUTO}
    )
    """Label -> spec; every flow is evaluated with each. ``"auto"`` is what suits the flow."""
    seeds: Annotated[Counts, BeforeValidator(_seeds)] = (0, 1, 2)
    """The seeds of training and evaluation; ``seeds = n`` stands for 0 … n − 1."""
    nfe: Counts = NFE
    """Evaluations of the velocity; 0 is the prior alone, at the sampler's temperature."""
    samples: Samples = 2000
    """The number of samples that are evaluated at each."""
    conditions: Literal["reference", "balanced"] = "reference"
    """The conditions of samples: those of the test split, or every label equally often."""
    references: Annotated[Labels, AfterValidator(_references)] = Field(default_factory=dict)
    """Name -> data set against whose test split flows are evaluated, too, on samples for its conditions."""
    validation: Count = 0
    """Data samples held out of the training split, to choose a setting on."""
    splits: Annotated[tuple[OwnSplit, ...], Field(strict=False), AfterValidator(_distinct)] = ("test",)
    """The splits that flows are evaluated on, each on samples for its conditions; tables show the first."""
    evaluation_seed: Count = 0
    """Added to the training's seed for the conditions and source samples of its evaluation."""
    guidance: float = 1.0
    """Strength of classifier-free guidance; 1 is none."""
    baseline: str = ""
    """Label of the variant that the others are compared with; empty for the standard normal with coupling and
    path ``condot``, or else the first one."""
    metric: str = ""
    """The metric that the summary is about; empty for the Fréchet distance where there is one."""
    training: Annotated[TrainingConfig, BeforeValidator(_training)] = Field(
        default_factory=lambda: _training({})
    )
    """The budget, the same in every run."""
    curve: Annotated[Curve, BeforeValidator(_curve)] = Field(default_factory=Curve)
    """See :class:`Curve`."""
    evaluation: Annotated[dict[str, Any], AfterValidator(_evaluation)] = Field(default_factory=dict)
    """Further options of :func:`flowprior.evaluate`, such as ``{"batch_size": 250}``."""
    trainer: Annotated[str, AfterValidator(partial(check_hook, "trainer"))] = ""
    """``package.module:function`` of ``f(config, data, out) -> Flow``, which trains a run on the training
    split, in a folder of its own; empty for :func:`flowprior.train`."""
    values: Annotated[str, AfterValidator(partial(check_hook, "values"))] = ""
    """``package.module:function`` of ``f(flow, run, data) -> list``, which gives further rows of a run
    (:func:`flowprior.evaluation.result.table_row`); ``data`` is a :class:`~flowprior.study.Splits`."""

    def __post_init__(self) -> None:
        dropout = {"config": {"training": {"condition_dropout": self.training.condition_dropout}}}
        check_guidance(self.guidance, metadata=dropout)  # before anything is trained
        if "validation" in self.splits and not self.validation:
            raise OptionError("compare: splits names 'validation', which is empty; write validation = 500")

    @property
    def hooks(self) -> dict[str, str]:
        """Function -> key of the code that the grid names."""
        named = {spec.trainer: f"variants.{label}.trainer" for label, spec in self.variants.items()}
        named |= {self.trainer: "trainer", self.values: "values"}
        return {text: key for text, key in named.items() if text}

    def training_of(self, label: str) -> TrainingConfig:
        """Return the training of the variant ``label``."""
        return replace(self.training, **self.variants[label].training)

    def as_dict(self) -> dict[str, Any]:
        """Return the grid as plain dictionaries and lists, as TOML and JSON hold it."""
        tree = asdict(self)
        for name in DECIDED_BY_GRID:
            del tree["training"][name]
        return tree


def load_grid(
    path: str | Path | None = None, values: Mapping[str, Any] | None = None, overrides: Iterable[str] = ()
) -> Grid:
    """Read a TOML file, then apply ``values`` and ``section.key=value`` overrides; all are optional.

    A file that ``extends`` another one and names variants has these alone, each with what the other says.

    Args:
        path: TOML file with the keys of :class:`Grid`; None for the defaults.
        values: keys that replace those of the file; an axis as a whole.
        overrides: such as ``["training.lr=5e-4", "curve.points=0"]``; the last one wins.

    Raises:
        OptionError: no such file, no TOML, an unknown key, or an impossible value.
    """
    form = "key=value or section.key=value"
    tree = read_tree(path, values, overrides, owner="compare", form=form, named=("variants",))
    return grid_from_dict(tree)


def grid_from_dict(tree: Mapping[str, Any]) -> Grid:
    """Build a grid from plain dictionaries; keys that are left out keep their defaults.

    Raises:
        OptionError: an unknown key or an impossible value.
        UnknownComponentError: a name that is not registered.
    """
    check_keys(tree, [*COMBINED, *(field.name for field in fields(Grid))], owner="compare")
    values = dict(tree)
    axes = {axis: values.pop(axis) for axis in COMBINED if axis in values}
    if axes and "variants" in values:
        raise OptionError(
            f"compare: variants stand in place of the combinations of {', '.join(COMBINED)}; leave out "
            f"{', '.join(axes)}, or the variants"
        )
    if "variants" not in values:
        values["variants"] = combinations(axes)
    return Grid(**values)


def dump_grid(grid: Grid) -> str:
    """Return the whole grid, defaults included, as TOML."""
    return tomli_w.dumps(grid.as_dict())
