"""Names in a grid, checked: specs, variants and functions; and reasons why a variant is refused."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from flowprior.couplings import Coupling
from flowprior.errors import FlowpriorError, OptionError
from flowprior.evaluation.result import REAL_DATA
from flowprior.flow.predictions import check_name, make_prediction
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.registry import Registry
from flowprior.samplers import Sampler
from flowprior.samplers.base import AveragedVelocity
from flowprior.training.components import times_and_weight
from flowprior.training.config import (
    AUTO,
    DEFAULT_PATH,
    DEFAULT_PRIOR,
    TrainingConfig,
)

AXES: dict[str, Registry[Any]] = {
    "priors": Prior.registry,
    "couplings": Coupling.registry,
    "paths": Path.registry,
    "samplers": Sampler.registry,
}

VARIANT = {
    "prior": DEFAULT_PRIOR,
    "coupling": AUTO,
    "path": DEFAULT_PATH,
    "prediction": AUTO,
    "sampler": "",
    "trainer": "",
}
"""Keys of a variant that a grid names, and their defaults."""

HOOKS = ("trainer", "values")
"""Keys of a grid that name a function as ``package.module:function``."""


@dataclass(frozen=True)
class Variant:
    """One prior, coupling and path, whatever the seed.

    Attributes:
        label: as the report calls it, such as ``"gmm + ot"``.
        prior: spec.
        coupling: spec; what ``auto`` stands for with this prior.
        path: spec.
        prediction: of the network; what ``auto`` stands for with this prior and coupling.
        samplers: label -> spec of those that evaluate it.
        trainer: function that trains it, as ``package.module:function``; empty for ``flowprior.train``.
    """

    label: str
    prior: str
    coupling: str
    path: str
    prediction: str
    samplers: Mapping[str, str]
    trainer: str = ""

    def refusal(self, training: TrainingConfig) -> str | None:
        """Return why this combination is refused under the grid's ``training``; None where it is not."""
        return _refusal(self._check, replace(training, prediction=self.prediction))

    def sampler_refusal(self, spec: str, counts: tuple[int, ...]) -> str | None:
        """Return why a sampler cannot serve this variant with any of ``counts`` evaluations, or None."""
        return _refusal(self._check_sampler, spec, counts)

    def _check(self, training: TrainingConfig) -> None:
        prior, coupling, path = self._parts()
        path.check(prior)
        coupling.check(prior)
        prediction = make_prediction(self.prediction, prior, coupling, path)
        times_and_weight(training, prediction, coupling)
        drawn, batch_size = coupling.draw_size(training.batch_size), training.batch_size
        if drawn < batch_size or drawn % batch_size:
            raise OptionError(
                f"the coupling draws {drawn} pairs at once, no multiple of batch_size={batch_size}"
            )

    def _check_sampler(self, spec: str, counts: tuple[int, ...]) -> None:
        prior, coupling, path = self._parts()
        generator = torch.Generator().manual_seed(0)
        sampler = Sampler.registry.resolve(spec)
        sampler = sampler.prepare(path, prior, coupling, self.prediction, generator=generator)
        if not sampler.adaptive:
            spent = [count for count in counts if count]  # 0 is the prior alone, which no sampler touches
            reasons = [
                _refusal(sampler.solve, ZERO_VELOCITY, torch.zeros(1, 1), nfe=count) for count in spent
            ]
            if reasons and all(reasons):
                raise OptionError(reasons[0])

    def _parts(self) -> tuple[Prior, Coupling, Path]:
        return (
            Prior.registry.resolve(self.prior),
            Coupling.registry.resolve(self.coupling),
            Path.registry.resolve(self.path),
        )


def checked_variants(given: Any) -> dict[str, dict[str, str]]:
    """Return label -> parts, with every key of :data:`VARIANT`; every spec is built once as a check."""
    if not isinstance(given, Mapping) or not all(isinstance(parts, Mapping) for parts in given.values()):
        raise OptionError(f"compare: variants={given!r} is not possible; write a section [variants.LABEL]")
    if REAL_DATA in given:
        raise OptionError(
            f"compare: variants.'{REAL_DATA}' is not possible: real data have this name; choose another"
        )
    return {label: _checked_variant(label, {**VARIANT, **parts}) for label, parts in given.items()}


def _checked_variant(label: str, parts: Mapping[str, Any]) -> dict[str, str]:
    for key, value in parts.items():
        if key not in VARIANT or not isinstance(value, str):
            raise OptionError(
                f"compare: variants.{label}.{key}={value!r} is not possible; give texts for "
                f"{', '.join(VARIANT)}"
            )
    check_hook(f"variants.{label}.trainer", parts["trainer"])
    check_name("compare", f"variants.{label}.prediction", parts["prediction"], "auto")
    specs = {key: _canonical(f"{key}s", spec) for key, spec in parts.items() if spec and f"{key}s" in AXES}
    return {**parts, **specs}


def labelled(axis: str, given: Any) -> dict[str, str]:
    """Return label -> spec; every spec of an axis is built once as a check.

    ``given`` is a mapping of labels to specs, or a list of ``spec`` or ``label=spec``. A spec without a label
    is called by its component's name where that is unambiguous, else by itself.
    """
    if isinstance(given, str) or not isinstance(given, Mapping | Sequence) or not given:
        raise OptionError(f"compare: {axis}={given!r} is not possible; give a list with at least one spec")
    for text in given.values() if isinstance(given, Mapping) else given:
        if not isinstance(text, str):
            raise OptionError(f"compare: {axis} has {text!r}; expected a spec such as 'name:key=value'")
    pairs = given.items() if isinstance(given, Mapping) else map(split_label, given)
    found = [(label, _canonical(axis, text)) for label, text in pairs]
    names = [spec.partition(":")[0] for _, spec in found]
    labels = [
        label or (name if names.count(name) == 1 else spec)
        for (label, spec), name in zip(found, names, strict=True)
    ]
    specs = [spec for _, spec in found]
    for values in (specs, labels):
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise OptionError(f"compare: {axis} names '{twice}' twice; leave one out")
    return dict(zip(labels, specs, strict=True))


def split_label(text: str) -> tuple[str, str]:
    """Return label and spec of ``label=spec`` or ``spec``; after a colon the equals sign is an option's."""
    head, equals, tail = text.partition("=")
    return (head.strip(), tail.strip()) if equals and ":" not in head else ("", text)


def _canonical(axis: str, text: str) -> str:
    """Return the spec with the component's own name in place of an alias."""
    text, registry = text.strip(), AXES[axis]
    if axis in ("samplers", "couplings") and text == AUTO:
        return text
    if axis == "priors":
        _refuse_auto(text)
    registry.resolve(text)
    name, colon, options = text.partition(":")
    return f"{registry.record(name.strip()).name}{colon}{options}".rstrip(":")


def _refuse_auto(prior: str) -> None:
    if prior == AUTO:
        raise OptionError(
            "compare: expected the name of a prior, got 'auto'; run flowprior inspect --data DATA "
            "--prior gmm --prior latent-gmm --coupling ot --coupling posterior, which ranks them on the data"
        )


def check_hook(key: str, text: Any) -> None:
    """Check that ``text`` is empty or looks like ``package.module:function``."""
    parts = text.split(":") if isinstance(text, str) else []
    if text and not (len(parts) == 2 and all(parts)):
        raise OptionError(f"compare: {key}={text!r} is not possible; write 'package.module:function'")


def hooks_of(grid: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (key, function) of the code that a grid names, given as plain values; each function once."""
    named = {grid[key]: key for key in HOOKS if grid.get(key)}
    for label, parts in grid.get("variants", {}).items():
        if trainer := parts.get("trainer"):
            named.setdefault(trainer, f"variants.{label}.trainer")
    return [(key, text) for text, key in named.items()]


def load_hooks(grid: Mapping[str, Any]) -> None:
    """Import every function that a grid names; their modules may register its data set.

    Importing runs code: only for a grid that the user has passed, or has allowed to.

    Raises:
        OptionError: a function cannot be loaded.
    """
    for key, text in hooks_of(grid):
        load_hook(key, text)


def load_hook(key: str, text: str) -> Callable[..., Any]:
    """Return the function that ``text`` names; modules are looked for in the current folder, too."""
    module, _, name = text.partition(":")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise OptionError(
            f"compare: {key}='{text}' cannot be loaded ({error}); run from the folder that holds "
            f"'{module.partition('.')[0]}', or install it"
        ) from error


def _refusal(check: Callable[..., Any], *arguments: Any, **options: Any) -> str | None:
    """Return why this call is refused, in one line; None where it is not."""
    try:
        check(*arguments, **options)
    except FlowpriorError as error:
        return " ".join(str(error).split())
    return None


def _zeros(x: torch.Tensor, *_: Any) -> torch.Tensor:
    return torch.zeros_like(x)


ZERO_VELOCITY = AveragedVelocity(_zeros, _zeros)
