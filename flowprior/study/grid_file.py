"""Grids as TOML files: read with overrides, written with every default."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from flowprior.errors import OptionError
from flowprior.registry import parse_value
from flowprior.study.axes import AXES, labelled
from flowprior.study.grid import COMBINED, DECIDED_BY_GRID, Curve, Grid
from flowprior.training.config import TrainingConfig, training_options


def load_grid(
    path: str | Path | None = None, values: Mapping[str, Any] | None = None, overrides: Iterable[str] = ()
) -> Grid:
    """Read a TOML file, then apply ``values`` and ``section.key=value`` overrides; all are optional.

    Args:
        path: TOML file with the keys of :class:`Grid`; None for the defaults.
        values: keys that replace those of the file; an axis as a whole.
        overrides: such as ``["training.lr=5e-4", "curve.points=0"]``; the last one wins.

    Raises:
        OptionError: no such file, no TOML, an unknown key, or an impossible value.
    """
    tree = {} if path is None else _read(Path(path))
    tree |= values or {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise OptionError(f"compare: expected key=value or section.key=value, got '{override}'")
        _put(tree, key.strip(), parse_value(text.strip()))
    return grid_from_dict(tree)


def grid_from_dict(tree: Mapping[str, Any]) -> Grid:
    """Build a grid from plain dictionaries; keys that are left out keep their defaults.

    Axes may be lists of ``spec`` or ``label=spec``; ``seeds = n`` stands for 0 … n − 1.

    Raises:
        OptionError: an unknown key or an impossible value.
        UnknownComponentError: a name that is not registered.
    """
    values = {key: _plain(value) for key, value in tree.items()}
    _check_keys(values, list(Grid.__dataclass_fields__), "")
    doubled = [axis for axis in COMBINED if axis in values]
    if values.get("variants") and doubled:
        raise OptionError(
            f"compare: variants stand in place of the combinations of {', '.join(COMBINED)}; leave out "
            f"{', '.join(doubled)}, or the variants"
        )
    training, curve, evaluation = (
        _section(name, values.pop(name, {})) for name in ("training", "curve", "evaluation")
    )
    for name, advice in DECIDED_BY_GRID.items():
        if name in training:
            raise OptionError(f"compare: training.{name} is no key of a grid; {advice}")
    _check_keys(curve, list(Curve.__dataclass_fields__), "curve.")
    values |= {axis: labelled(axis, values[axis]) for axis in AXES if axis in values}
    if type(values.get("seeds")) is int and values["seeds"] > 0:
        values["seeds"] = tuple(range(values["seeds"]))
    budget = training_options(TrainingConfig(sample_every=0), training)
    curve = {key: _plain(value) for key, value in curve.items()}
    return Grid(**values, training=budget, curve=Curve(**curve), evaluation=evaluation)


def dump_grid(grid: Grid) -> str:
    """The whole grid, defaults included, as TOML."""
    return tomli_w.dumps(grid.as_dict())


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"compare: cannot read {path}: {error.strerror}; check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"compare: {path} is not TOML: {error}") from error


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    section, dot, name = key.partition(".")
    if not dot:
        tree[section] = value
    else:
        tree[section] = {**_section(section, tree.get(section, {})), name: value}


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _section(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise OptionError(f"compare: {name} is a section of keys, got {value!r}; write [{name}]")
    return value


def _check_keys(values: Mapping[str, Any], known: list[str], prefix: str) -> None:
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"; did you mean '{prefix}{near[0]}'?" if near else ";"
            raise OptionError(f"compare: unknown key '{prefix}{key}'{hint} known: {', '.join(known)}")
