"""The tensors of a flow: which go to the disk, and whether those that come back fit."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.errors import CheckpointError, FlowpriorError
from flowprior.flow.parts import FlowParts
from flowprior.priors import Prior
from flowprior.priors.saved import check_types, draw_some
from flowprior.storage.tensor_files import SizedBy, sizes_of
from flowprior.storage.writing import one_line

COMPILED = "_orig_mod."
"""What ``torch.compile`` puts into the names of the tensors of a module that it wraps."""
TRIED_LABELS = 64


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
    module: nn.Module, tensors: Mapping[str, Tensor], part: str, described: str, source: Path
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
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"{source}: the tensors do not fit the {described}: {reason}") from error


def part_of(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors below ``part.``, under the names that they have in it."""
    prefix = f"{part}."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


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
    prior: Prior, kinds: Mapping[str, bool], event_shape: list[int], condition: Condition, source: Path
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
