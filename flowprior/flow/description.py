"""The tensors that are saved of a flow, and ``flow.json``, which tells how to rebuild its parts.

What comes back from the disk is checked here, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path as FilePath
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.errors import CheckpointError, FlowpriorError
from flowprior.flow.latents import describe_encoder
from flowprior.flow.parts import FlowParts
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.priors.saved import KEPT, check_types, draw_some
from flowprior.registry import Registry, parse_spec
from flowprior.registry.plugins import package_version
from flowprior.registry.registry import spec_of
from flowprior.storage.digests import FILES, Binding, unsigned
from flowprior.storage.reading import read_json
from flowprior.storage.tensor_files import SizedBy, part_of, sizes_of
from flowprior.storage.writing import one_line

FORMAT, IN_LATENTS = 3, 4
"""The formats of a flow, and of one in the latents of an encoder."""
LAST_READER = "aedbeeba"
"""The last commit of flowprior that reads flows of formats 1 and 2, whose files nothing bound."""
DESCRIPTION = "flow.json"
COMPILED = "_orig_mod."
"""The prefix that ``torch.compile`` puts before the names of a module's tensors."""
TRIED_LABELS = 64


def describe(flow: FlowParts) -> dict[str, Any]:
    """Return the values of ``flow.json`` for a flow, apart from its files.

    Raises:
        CheckpointError: a part without a name to rebuild it by, or metadata that JSON cannot hold.
    """
    families: dict[str, tuple[Registry[Any], object]] = {
        "prior": (Prior.registry, flow.prior),
        "coupling": (Coupling.registry, flow.coupling),
        "path": (Path.registry, flow.path),
    }
    try:
        specs = {name: flow.specs[name] or spec_of(*family) for name, family in families.items()}
    except CheckpointError as error:
        raise CheckpointError(f"flow.save: {error}") from None
    dtype = flow.dtype
    description = {
        "format": FORMAT if flow.encoder is None else IN_LATENTS,
        "flowprior": package_version(),
        "model": flow.specs["model"],
        **specs,
        "prediction": flow.prediction,
        "condition": flow.condition.as_dict(),
        "event_shape": list(flow.state_shape),
        **describe_encoder(flow),
        "dtype": str(dtype).removeprefix("torch.") if dtype else None,
        "metadata": flow.metadata,
        **({KEPT: flow.prior.kept_data} if flow.prior.kept_data else {}),
    }
    try:
        return json.loads(json.dumps(description))
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"flow.save: metadata must be plain JSON values: {error}") from error


def read_description(directory: FilePath) -> dict[str, Any]:
    """``flow.json`` of a saved flow, checked key by key.

    Raises:
        CheckpointError: it is missing, damaged, changed, or written by a newer or a much older flowprior.
    """
    path = directory / DESCRIPTION
    if not path.exists():
        raise CheckpointError(f"{path} is missing; pass a directory that Flow.save wrote")
    description = read_json(path)
    written = description.get("format")
    if type(written) is not int or written < 1:
        raise CheckpointError(f"{path} is truncated or corrupted (no format); use another checkpoint")
    if written > IN_LATENTS:
        writer = " ".join(str(description.get("flowprior")).split())[:40]
        raise CheckpointError(
            f"{path} has format {written}, written by flowprior {writer}; this "
            f"flowprior reads formats up to {IN_LATENTS}: install a newer one"
        )
    if written < FORMAT:
        raise CheckpointError(
            f"{path} has format {written}, which commit {LAST_READER} of flowprior is the last to read; "
            "train the flow again"
        )
    description = unsigned(description, path)
    try:
        _check_values(description)
        former = parse_spec(description["coupling"], "coupling")
        if former.name == "reflow":  # pairs that another flow had made
            description["coupling"] = f"given:origin={former.options['origin']}"
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is incomplete or damaged: {error!r}") from error
    return description


def bindings_of(description: Mapping[str, Any]) -> dict[str, Binding]:
    """The files that a description binds, by role."""
    return {role: Binding.of(value) for role, value in description[FILES].items()}


def _check_values(description: Mapping[str, Any]) -> None:
    """Refuse values of another kind than :func:`describe` writes."""
    for name in ("model", "prior", "coupling", "path", "prediction"):
        _expect(type(description[name]) is str, name)
    try:
        condition = Condition.from_dict(description["condition"])
    except ValueError:  # what else it says may be long and does not go into the message
        raise ValueError("an impossible condition") from None
    _expect(all(part.size < 1 << 31 for part in (condition, *dict(condition.parts).values())), "condition")
    _expect(is_shape(description["event_shape"]), "event_shape")
    _expect(("encoder" in description) == (description["format"] == IN_LATENTS), "encoder")
    encoder = dict(description.get("encoder", {}))  # with a spec, an identity and the shape of its pictures
    _expect(all(type(encoder[name]) is str for name in ("spec", "identity") if encoder), "encoder")
    _expect(not encoder or is_shape(encoder["event_shape"]), "encoder")
    _expect(description["dtype"] in (None, "float16", "bfloat16", "float32", "float64"), "dtype")
    _expect(isinstance(description["metadata"], dict), "metadata")
    _expect(type(description.get(KEPT, "")) is str, KEPT)
    _expect(isinstance(description[FILES], dict), FILES)
    bindings_of(description)["weights"]


def is_shape(value: Any) -> bool:
    """Return whether a value of JSON is the shape of an event."""
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def _expect(holds: bool, key: str) -> None:
    if not holds:
        raise ValueError(f"an impossible {key}")


def dtype_of(description: Mapping[str, Any]) -> torch.dtype | None:
    """Floating-point type of the model's weights; None where it has none."""
    return getattr(torch, description["dtype"]) if description["dtype"] else None


def tensors_of(flow: FlowParts) -> dict[str, Tensor]:
    """The state that is saved of a flow, under the names that it has without ``torch.compile``.

    That of an encoder only where it travels with the flow.
    """
    travels = flow.encoder is None or flow.encoder.travels
    state = {name: value for name, value in flow.state_dict().items() if isinstance(value, Tensor)}
    return plain_names({k: v for k, v in state.items() if travels or not k.startswith("encoder.")})


def plain_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``tensors`` without the prefixes of ``torch.compile``."""
    return {name.replace(COMPILED, ""): value for name, value in tensors.items()}


def assign_tensors(
    module: nn.Module, tensors: Mapping[str, Tensor], part: str, described: str, source: FilePath
) -> None:
    """Load the tensors below ``part.`` into ``module``, compiled or not.

    A model's are copied into its own; a prior takes shape and dtype from the file.

    Raises:
        CheckpointError: they do not fit; ``described`` and ``source`` are named in the message.
    """
    own = part_of(tensors, part)
    try:
        with SizedBy(sizes_of(own), described):  # A prior builds its networks as it loads them.
            load_plain(module, own, assign=part == "prior")
    except FlowpriorError as error:
        raise CheckpointError(f"{source}: {error}") from error
    except Exception as error:  # Whatever a part makes of tensors that are not its own.
        raise CheckpointError(
            f"{source}: the tensors do not fit the {described}: {one_line(error)}"
        ) from error


def load_plain(module: nn.Module, tensors: Mapping[str, Tensor], assign: bool = False) -> None:
    """``module.load_state_dict`` for names of :func:`plain_names`, where the module may be compiled."""
    names = {name.replace(COMPILED, ""): name for name in module.state_dict()}
    module.load_state_dict({names.get(key, key): value for key, value in tensors.items()}, assign=assign)


def refuse_non_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Refuse NaN and infinite values; a prior's log weights may be −∞, of what never occurs.

    Raises:
        CheckpointError: which tensor holds them.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()):
            continue
        if name.startswith("prior.") and not bool((torch.isnan(tensor) | torch.isposinf(tensor)).any()):
            continue
        bad = int((~torch.isfinite(tensor)).sum())
        raise CheckpointError(
            f"{source}: tensor '{name}' holds {bad} values of {tensor.numel()} that are NaN or infinite; use "
            "another checkpoint, or train again with a lower training.lr"
        )


@torch.no_grad()
def check_prior(
    prior: Prior, kinds: Mapping[str, bool], event_shape: list[int], condition: Condition, source: FilePath
) -> None:
    """Try a prior that was just loaded: shapes, types and one draw of each of its first labels.

    Args:
        prior: loaded.
        kinds: of :func:`flowprior.priors.saved.kinds_of`, before it was.
        event_shape: of the flow.
        condition: of the flow.
        source: named in the message.

    Raises:
        CheckpointError: its tensors are none of a fitted prior of these events.
    """
    try:
        check_types(prior, kinds)
        if list(prior.event_shape) != event_shape:
            raise ValueError(f"events {list(prior.event_shape)}, expected {event_shape}")
        drawn = draw_some(prior)
        if condition.kind == "labels":
            with suppress(FlowpriorError):  # labels that fit never saw may be refused
                labels = torch.arange(min(condition.size, TRIED_LABELS))
                drawn = prior.sample(labels, generator=torch.Generator().manual_seed(0))
        if not bool(torch.isfinite(drawn).all()):
            raise ValueError("a draw from it is not of finite numbers")
    except Exception as error:  # Whatever a prior makes of tensors that are not its own.
        raise CheckpointError(
            f"{source}: the tensors do not fit the prior '{prior.name}': {one_line(error)}; use another "
            "checkpoint"
        ) from error


def weights_digest(description: Mapping[str, Any]) -> str:
    """Return the sha256 of the file of the weights."""
    return description[FILES]["weights"]["sha256"]


def digest_of(folder: FilePath) -> str | None:
    """Return the sha256 of the weights of a saved flow; None for a checkpoint, and where there is no flow."""
    try:
        description = read_description(folder)
    except CheckpointError:
        return None
    return weights_digest(description) if set(description[FILES]) == {"weights"} else None


def tensor_option(condition: Condition) -> str:
    """Return how ``flowprior sample`` is given a condition that is a tensor."""
    return "--picture FILE " if condition.is_picture else "--cond FILE.npy "


def samples_ending(event_shape: Sequence[int], data: Any = None) -> str:
    """Return the ending of a file that such events fit in; images and points of the plane are drawn.

    Args:
        event_shape: of one sample.
        data: what the flow's metadata say of its data.
    """
    if isinstance(data, Mapping) and "annotation" in data:
        return "h5ad"
    picture = len(event_shape) == 3 and event_shape[0] in (1, 3, 4)
    return "png" if picture or tuple(event_shape) == (2,) else "npz"
