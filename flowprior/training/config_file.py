"""The configuration of a run as TOML, with overrides from the command line, and as a command that trains."""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flowprior.errors import OptionError
from flowprior.registry.options import parse_value
from flowprior.storage.reading import bounded_bytes
from flowprior.storage.user_paths import expanded
from flowprior.training.config import NO_LATENT, OPTIONS, RunConfig, TrainingConfig

CONFIG_LIMIT = 1 << 20
"""The size of the longest configuration file that is read, in bytes."""
EXTENDS = "extends"
"""The key of a file with the path, from its folder, of another one whose keys it has, too."""
UNUSED = [("shard", False), ("pair_within", "micro-batch"), ("beta1", 0.9)]
"""The keys and values of a training that the runs of older versions wrote, and that change nothing."""
PARTS = ("prior", "coupling", "path", "model", "latent")
"""The keys of the parts that a command names, after the data."""
ALWAYS = ("steps", "seed")
"""The keys of the training that a command always names."""
HOW_IT_RAN = ("max_minutes", "prefetch", "compile")
"""The keys that change nothing of what is trained."""


def load_config(path: str | Path | None = None, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a TOML file and apply ``section.key=value`` overrides; both are optional.

    Args:
        path: TOML file with the keys of :class:`RunConfig`; None for the defaults.
        overrides: such as ``["training.steps=4000", "prior=gmm:components=8"]``; the last one wins.

    Raises:
        OptionError: no such file, no TOML, an unknown key, or an impossible value.
    """
    return config_from_dict(read_tree(path, overrides=overrides))


def read_tree(
    path: str | Path | None,
    values: Mapping[str, Any] | None = None,
    overrides: Iterable[str] = (),
    owner: str = "config",
    form: str = "section.key=value",
    named: Collection[str] = (),
) -> dict[str, Any]:
    """Return the keys of a TOML file, then ``values``, then ``section.key=value`` overrides; the last wins.

    A file that ``extends`` another one has its keys, too, see :func:`extended` for ``named``. Messages name
    ``owner``, and ``form`` as how an override is written.

    Raises:
        OptionError: no such file, no TOML, a file that extends itself, or an override without an equals sign.
    """
    tree = {} if path is None else _read_files(expanded(path, owner), owner, named)
    tree |= values or {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise OptionError(f"{owner}: expected {form}, got '{override}'")
        section, dot, name = key.strip().partition(".")
        inner = tree.get(section, {})
        if dot and not isinstance(inner, Mapping):
            raise OptionError(f"{owner}: '{key.strip()}' has no sections; write {section}=value")
        parsed = parse_value(value.strip())
        tree[section] = {**inner, name: parsed} if dot else parsed  # a copy: it may be the caller's
    return tree


def config_from_dict(tree: Mapping[str, Any]) -> RunConfig:
    """Build the tree from plain dictionaries; keys that are left out keep their defaults.

    Raises:
        OptionError: an unknown key or an impossible value.
    """
    values = dict(tree)
    training = values.pop("training", {})
    if not isinstance(training, Mapping):
        raise OptionError(
            f"config: training is a section of keys, got {training!r}; write training.key=value"
        )
    training = {key: value for key, value in training.items() if (key, value) not in UNUSED}
    return RunConfig(**values, training=TrainingConfig(**training))


def extended(base: Mapping[str, Any], tree: Mapping[str, Any], named: Collection[str] = ()) -> dict[str, Any]:
    """Return the keys of ``base``, replaced by those of ``tree``; in a section, key by key.

    Of the sections ``named``, those parts alone stay that ``tree`` names, in its order, each with what it has
    in ``base``.
    """
    found = dict(base)
    for key, value in tree.items():
        before = base.get(key)
        if not isinstance(value, Mapping) or not isinstance(before, Mapping):
            found[key] = value
        elif key in named:
            found[key] = {label: _section(before.get(label, {}), own) for label, own in value.items()}
        else:
            found[key] = _section(before, value)
    return found


def train_command(config: RunConfig, data: str | None) -> str | None:
    """Return ``flowprior train …`` with every choice that is not a default, for a shell.

    Args:
        config: resolved; each part as it is named.
        data: what the data set is read by; None for data that have no name.

    Returns:
        None where data or another part were given as an instance that no name leads back to.
    """
    parts: dict[str, Any] = {"data": data, **{name: getattr(config, name) for name in PARTS}}
    if data is None or any(text.startswith("<") for text in parts.values()):
        return None
    named = {name: text for name, text in parts.items() if (name, text) != ("latent", NO_LATENT)}
    usual, settings = asdict(TrainingConfig()), []
    for name, value in asdict(config.training).items():
        if name in HOW_IT_RAN or (value == usual[name] and name not in ALWAYS):
            continue
        if name in OPTIONS:
            named[name] = str(value)
        else:
            text = value if isinstance(value, str) else json.dumps(value)  # texts may go without quotes
            settings += ["--set", f"training.{name}={text}"]
    options = [word for name, text in named.items() for word in (f"--{name.replace('_', '-')}", text)]
    return shlex.join(["flowprior", "train", *options, *settings, "--out", "RUN"])


def _section(before: Any, own: Any) -> Any:
    return {**before, **own} if isinstance(before, Mapping) and isinstance(own, Mapping) else own


def _read_files(
    path: Path, owner: str, named: Collection[str], extending: tuple[Path, ...] = ()
) -> dict[str, Any]:
    """Return the keys of a file and of those that it extends; ``extending`` are those that led to it."""
    tree = _read_toml(path, owner)
    if EXTENDS not in tree:
        return tree
    name, chain = tree.pop(EXTENDS), (*extending, path.resolve())
    if not isinstance(name, str):
        raise OptionError(f'{owner}: {path} extends {name!r}; write extends = "other.toml"')
    base = path.parent / expanded(name, owner)
    if base.resolve() in chain:
        raise OptionError(f"{owner}: {path} extends {base}, which extends {path} itself; leave one out")
    return extended(_read_files(base, owner, named, chain), tree, named)


def _read_toml(path: Path, owner: str) -> dict[str, Any]:
    try:
        text = bounded_bytes(path, CONFIG_LIMIT).decode("utf-8")
    except UnicodeDecodeError as error:
        raise OptionError(f"{owner}: {path} is not TOML: {error}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OptionError(f"{owner}: cannot read {path}: {reason}; check the path") from error
    return _parse_toml(text, path, owner)


def _parse_toml(text: str, source: str | Path, owner: str = "config") -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise OptionError(f"{owner}: {source} is not TOML: {error}") from error
