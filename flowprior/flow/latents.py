"""The encoder of a flow that lives in latents: in ``flow.json``, among the tensors, and rebuilt of both.

Small weights of our own lie with every flow. Of a folder of somebody else's, path and digest are noted: a
flow is never joined with other weights than it was trained with. Where the package of an encoder is not
installed, the flow makes latents.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flowprior.errors import CheckpointError, FlowpriorError, UnknownComponentError
from flowprior.flow.parts import FlowParts
from flowprior.flow.sampling import for_group, sent
from flowprior.models import Encoder, LatentEncoder
from flowprior.processes.group import Group
from flowprior.samplers.base import Solution
from flowprior.storage.tensor_files import part_of

AT_ONCE = 500
"""Latents that are decoded at once, where nobody says how many."""


def describe_encoder(flow: FlowParts) -> dict[str, Any]:
    """Return the entry ``encoder`` of ``flow.json``; nothing for a flow without.

    Raises:
        CheckpointError: the flow was loaded without its encoder.
    """
    if flow.missing_encoder:
        raise CheckpointError(
            f"flow.save: the encoder '{flow.missing_encoder}' was missing when this flow was loaded, and "
            "would be lost; copy the folder that it was loaded from"
        )
    if flow.encoder is None or flow.picture_shape is None:
        return {}
    return {
        "encoder": {
            "spec": flow.encoder.spec,
            "identity": flow.encoder.identity(),
            "event_shape": list(flow.picture_shape),
        }
    }


def rebuild_encoder(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the arguments of ``Flow`` that bring its encoder back; none for a flow without.

    Where no installed package has the encoder, or one that it needs is not installed, a warning says so.

    Raises:
        FlowpriorError: the folder of its weights is gone, or holds others than the flow was trained with.
    """
    entry = description.get("encoder")
    if entry is None:
        return {}
    own = part_of(tensors, "encoder")
    try:
        encoder = _of_tensors(entry["spec"], own) if own else Encoder.registry.resolve(entry["spec"])
        identity = encoder.identity()
    except (FlowpriorError, ImportError) as error:
        reason = _missing(error)
        if reason is None:
            raise
        warnings.warn(
            f"the encoder '{entry['spec']}' of this flow is missing, and its samples are latents "
            f"[{', '.join(map(str, description['event_shape']))}]: {reason}",
            RuntimeWarning,
            stacklevel=5,
        )
        return {"missing_encoder": entry["spec"]}
    if not isinstance(encoder, LatentEncoder) or identity != entry["identity"]:
        raise CheckpointError(
            f"the encoder '{entry['spec']}' has other weights than the flow was trained with; expected "
            f"{entry['identity']}, got {identity}; bring those back"
        )
    return {"encoder": encoder, "picture_shape": torch.Size(entry["event_shape"])}


def _missing(error: Exception) -> str | None:
    """Return what to install where ``error`` is that of an encoder whose package is missing; else None."""
    if isinstance(error, UnknownComponentError):
        return "no installed package has it; install the one that does"
    if isinstance(error, ImportError) or isinstance(error.__cause__, ImportError):
        return str(error)
    return None


def _of_tensors(spec: str, tensors: Mapping[str, Tensor]) -> LatentEncoder:
    """The encoder with these tensors, in their type."""
    factory: Any = Encoder.record(Encoder.registry.parse(spec).name).factory
    dtype = next((value.dtype for value in tensors.values()), torch.float32)
    return factory.of_tensors(tensors).to(dtype)


def decoded(solution: Solution, flow: FlowParts, batch_size: int | None, group: Group) -> Solution:
    """A solution in latents as one in pictures; the trajectory too, where there is one.

    The processes of a group, which all call it with the same solution, share the batches out.
    """
    if flow.encoder is None:
        return solution

    def decode(z: Tensor) -> Tensor:
        parts = z.split(for_group(batch_size or AT_ONCE, len(z), group) or AT_ONCE)
        return torch.cat(group.in_parts(lambda part: sent(flow.decode(part), group), parts)).to(z.device)

    states = solution.trajectory
    pictures = None if states is None else torch.stack([decode(state) for state in states])
    return Solution(decode(solution.x), solution.nfe, solution.times, pictures)
