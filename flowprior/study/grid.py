"""The grid of a study: what is varied, what is held equal, how the flows are evaluated; and its TOML file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import tomli_w

from flowprior.display.shown import short
from flowprior.errors import OptionError
from flowprior.evaluation.evaluating import NFE
from flowprior.flow.conditioning import check_guidance
from flowprior.models.base import MODELS
from flowprior.registry.options import choose, is_number
from flowprior.study.variants import AXES, HOOKS, check_hook, checked_variants, labelled
from flowprior.training.config import (
    AUTO,
    DEFAULT_PATH,
    DEFAULT_PRIOR,
    NO_LATENT,
    TrainingConfig,
    check_keys,
)
from flowprior.training.config_file import read_tree

COUPLINGS = ("condot", "ot", "posterior")
"""The couplings of a grid that names none; where a prior has no latents, ``posterior`` is left out."""

DECIDED_BY_GRID = {
    "seed": "write seeds = [0, 1, 2] in the grid (--seeds 3)",
    "keep_checkpoints": "it follows from curve.points",
}
"""Keys of :class:`TrainingConfig` that a grid does not have, and what to do instead."""

EVALUATION = ("metrics", "features", "batch_size", "classifier", "members")
"""Options of :func:`flowprior.evaluate` that a grid has; the others follow from its keys."""

OWN_SPLITS = ("test", "validation")
"""Names of the splits of the grid's own data."""
COMBINED = ("priors", "couplings", "paths")
"""The axes whose combinations are trained where a grid names no variants."""
MOST_SEEDS = 100_000
"""The largest n of ``seeds = n``."""
Labels = Mapping[str, str]
"""Label -> spec string, in the order in which the report shows them."""


@dataclass(frozen=True)
class Curve:
    """Quality at fixed NFE against training steps.

    Attributes:
        points: checkpoints, spread evenly over the steps, the last one included; 0 for no curve.
        nfe: evaluations of the velocity at each of them.
        samples: how many samples are evaluated at each.
    """

    points: int = 6
    nfe: tuple[int, ...] = (4, 15)
    samples: int = 500

    def __post_init__(self) -> None:
        _check_counts("curve.points", (self.points,), 0)
        _check_counts("curve.samples", (self.samples,), 2)
        _check_counts("curve.nfe", self.nfe, 1)

    def every(self, budget: int) -> int:
        """Steps between two points, for a budget of so many; 0 for no curve."""
        return budget // min(self.points, budget) if self.points else 0

    def steps(self, budget: int) -> list[int]:
        """Steps at which the curve has points; the last one is the budget."""
        points = min(self.points, budget)
        return [self.every(budget) * point for point in range(1, points)] + [budget] * (points > 0)


@dataclass(frozen=True)
class Grid:
    """Everything of a study but where it is written.

    Attributes:
        data: data set, as a name or spec string; its test split is the reference.
        model: the velocity network, the same in every run.
        latent: encoder to the latents that the flows live in, such as ``"vae"``; ``"none"`` for the data
            themselves. Pictures are encoded once for all runs.
        priors: label -> spec; every combination of prior, coupling and path is trained.
        couplings: label -> spec.
        paths: label -> spec.
        samplers: label -> spec; every trained flow is evaluated with each. ``"auto"`` is what suits the
            flow, see :attr:`flowprior.Flow.default_sampler`.
        variants: label -> parts, in place of the combinations of priors, couplings and paths: ``prior``,
            ``coupling``, ``path``, ``prediction``, ``sampler`` (in place of the grid's) and ``trainer``, all
            optional; see :func:`flowprior.study.variants.checked_variants`.
        seeds: of training and evaluation.
        nfe: evaluations of the velocity; 0 is the prior alone, at the sampler's temperature.
        samples: how many are evaluated at each.
        conditions: those that samples are generated for: ``"reference"``, the test split's in its
            proportions, or ``"balanced"``, every label equally often.
        references: name -> data set; flows are evaluated against its test split, too, on samples for its own
            conditions, as in ``{"unseen": "emoji:captions=unseen"}``.
        validation: events held out of the training split, to choose a setting on; flows are evaluated
            against them as against the test split. 0 for none.
        evaluation_seed: added to the training's seed for the conditions and source samples of its evaluation.
        guidance: strength of classifier-free guidance; 1 is none.
        baseline: label of the variant that the others are compared with, such as ``"gaussian + condot"``;
            empty for the standard normal with coupling and path ``condot``, or else the first one.
        metric: the one that the summary is about; empty for the Fréchet distance where there is one.
        training: the budget, the same in every run; conditions are dropped where it says so in a number.
        curve: see :class:`Curve`.
        evaluation: further options of :func:`flowprior.evaluate`, such as ``{"batch_size": 250}``.
        trainer: ``package.module:function`` of ``f(config, data, out) -> Flow``, which trains a run on the
            training split, in a folder of its own; empty for ``flowprior.train``.
        values: of ``f(flow, run, data) -> list``, which gives further rows of a trained run
            (:func:`flowprior.evaluation.result.table_row`); ``data`` is a :class:`~flowprior.study.Splits`.

    Raises:
        OptionError: an impossible value, an axis without a component, or one that is named twice.
        UnknownComponentError: a name that is not registered.
    """

    data: str = "digits"
    model: str = AUTO
    latent: str = NO_LATENT
    priors: Labels = field(default_factory=lambda: labelled("priors", ["gaussian", DEFAULT_PRIOR]))
    couplings: Labels = field(default_factory=lambda: labelled("couplings", COUPLINGS))
    paths: Labels = field(default_factory=lambda: labelled("paths", [DEFAULT_PATH]))
    samplers: Labels = field(default_factory=lambda: labelled("samplers", [AUTO]))
    variants: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1, 2)
    nfe: tuple[int, ...] = NFE
    samples: int = 2000
    conditions: str = "reference"
    references: Labels = field(default_factory=dict)
    validation: int = 0
    evaluation_seed: int = 0
    guidance: float = 1.0
    baseline: str = ""
    metric: str = ""
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(sample_every=0))
    curve: Curve = field(default_factory=Curve)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    trainer: str = ""
    values: str = ""

    def __post_init__(self) -> None:
        for axis in AXES:
            object.__setattr__(self, axis, labelled(axis, getattr(self, axis)))
        object.__setattr__(self, "variants", checked_variants(self.variants))
        for name, least in {"validation": 0, "evaluation_seed": 0, "samples": 2}.items():
            _check_counts(name, (getattr(self, name),), least)
        for name in ("seeds", "nfe"):
            _check_counts(name, getattr(self, name), 0)
        for key in HOOKS:
            check_hook(key, getattr(self, key))
        choose("compare", "conditions", self.conditions, ("reference", "balanced"))
        _check_references(self.references)
        for name in ("data", "model", "latent", "baseline", "metric"):
            if not isinstance(getattr(self, name), str):
                raise OptionError(f"compare: {name}={getattr(self, name)!r} is not possible; expected a text")
        _check_evaluation(self.evaluation)
        training = replace(self.training, condition_dropout=self.training.dropped_share)
        object.__setattr__(self, "training", training)
        self._check_guidance()
        model = MODELS.parse(self.model).name
        if model != "auto":
            MODELS.record(model)

    def _check_guidance(self) -> None:
        """Before anything is trained: every run shares this training and this guidance."""
        if type(self.guidance) not in (int, float) or not is_number(self.guidance):
            raise OptionError(
                f"compare: guidance={short(self.guidance)} is not possible; give a finite number"
            )
        dropout = {"config": {"training": {"condition_dropout": self.training.condition_dropout}}}
        check_guidance(self.guidance, metadata=dropout)

    def as_dict(self) -> dict[str, Any]:
        """The grid as plain dictionaries and lists, as TOML and JSON hold it."""
        tree = asdict(self)
        for name in [*(COMBINED if self.variants else ()), *([] if self.references else ["references"])]:
            del tree[name]
        tree |= {"seeds": list(self.seeds), "nfe": list(self.nfe), "evaluation": dict(self.evaluation)}
        tree["curve"]["nfe"] = list(self.curve.nfe)
        for name in DECIDED_BY_GRID:
            del tree["training"][name]
        return tree


def _check_evaluation(options: Mapping[str, Any]) -> None:
    """Check that a grid has these options of :func:`flowprior.evaluate`."""
    for name in options:
        if name not in EVALUATION:
            raise OptionError(
                f"compare: evaluation.{name} is not possible; known: {', '.join(EVALUATION)}; sampler, nfe, "
                "samples and guidance are keys of the grid itself"
            )


def _check_references(references: Any) -> None:
    """Check that they have names of their own, and a spec each."""
    if not isinstance(references, Mapping):
        raise OptionError(
            f"compare: references={references!r} is not possible; write [references] and name = spec"
        )
    for name, spec in references.items():
        if name in OWN_SPLITS or not isinstance(spec, str):
            raise OptionError(
                f"compare: references.{name}={spec!r} is not possible; give the spec of a data set, under "
                f"another name than {' and '.join(OWN_SPLITS)}"
            )


def _check_counts(name: str, values: tuple[int, ...], least: int) -> None:
    """Check for distinct plain whole numbers, as TOML and JSON hold no others, none below ``least``."""
    if not isinstance(values, tuple) or not values:
        raise OptionError(f"compare: {name}={values!r} is not possible; give a list of whole numbers")
    for value in values:
        if type(value) is not int or value < least:
            raise OptionError(
                f"compare: {name}={value!r} is not possible; expected a whole number, {least} or more"
            )
    if len(set(values)) < len(values):
        raise OptionError(f"compare: {name}={list(values)} names a number twice; leave one out")


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

    Axes may be lists of ``spec`` or ``label=spec``; ``seeds = n`` stands for 0 … n − 1.

    Raises:
        OptionError: an unknown key or an impossible value.
        UnknownComponentError: a name that is not registered.
    """
    values = _with_tuples(tree)
    check_keys(values, list(Grid.__dataclass_fields__), owner="compare")
    doubled = [axis for axis in COMBINED if axis in values]
    if values.get("variants") and doubled:
        raise OptionError(
            f"compare: variants stand in place of the combinations of {', '.join(COMBINED)}; leave out "
            f"{', '.join(doubled)}, or the variants"
        )
    sections = {name: values.pop(name, {}) for name in ("training", "curve", "evaluation")}
    for name, section in sections.items():
        if not isinstance(section, Mapping):
            raise OptionError(f"compare: {name} is a section of keys, got {section!r}; write [{name}]")
    training, curve, evaluation = sections.values()
    for name, advice in DECIDED_BY_GRID.items():
        if name in training:
            raise OptionError(f"compare: training.{name} is no key of a grid; {advice}")
    check_keys(curve, list(Curve.__dataclass_fields__), "curve.", owner="compare")
    if type(values.get("seeds")) is int and 0 < values["seeds"] <= MOST_SEEDS:
        values["seeds"] = tuple(range(values["seeds"]))
    budget = replace(TrainingConfig(sample_every=0), **training)
    return Grid(**values, training=budget, curve=Curve(**_with_tuples(curve)), evaluation=evaluation)


def dump_grid(grid: Grid) -> str:
    """The whole grid, defaults included, as TOML."""
    return tomli_w.dumps(grid.as_dict())


def _with_tuples(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in tree.items()}
