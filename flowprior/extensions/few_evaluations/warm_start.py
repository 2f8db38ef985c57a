"""Warm start: a network that begins with the weights of another one, such as one trained from N(0, I).

``training.init`` names them: a run, a saved flow, or a file of weights. A network that is shown more beside
x_t than the other was, as under the prediction ``preconditioned``, starts with zeros for it, so that at first
it gives what the other gave.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from flowprior.errors import CheckpointError
from flowprior.flow.description import plain_names, refuse_non_finite
from flowprior.flow.files import find_flow, read_flow
from flowprior.storage.tensor_files import load_tensors, part_of

SUFFIX = ".safetensors"
INPUT = "input.weight"
"""The layer that sees x_t, and what a network is shown beside it, in all models of the library."""
NAMED = 3
"""Tensors that a message names."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """The network's weights in a run, a saved flow or a ``.safetensors`` file.

    Raises:
        CheckpointError: there are none, or they are damaged.
    """
    if path.is_dir():
        weights = part_of(read_flow(find_flow(path).folder)[1], "model")
    elif path.suffix == SUFFIX:
        weights = load_tensors(path)[0]
    else:
        raise CheckpointError(f"training.init={path}: expected a run, a saved flow, or a {SUFFIX} of weights")
    refuse_non_finite(weights, str(path))
    return weights


def start_from(model: nn.Module, path: Path) -> None:
    """Set the weights of ``model`` to those at ``path``.

    Raises:
        CheckpointError: they are missing or damaged, or those of another network; the first ones that
            differ are named.
    """
    given, own = plain_names(read_weights(path)), plain_names(model.state_dict())
    missing, further = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
    if missing or further:
        names = ", ".join((missing or further)[:NAMED])
        raise CheckpointError(
            f"training.init={path} is another network's: it {'lacks' if missing else 'has also'} {names}; "
            "give the run the same model, prediction and conditions"
        )
    with torch.no_grad():
        for name, tensor in own.items():
            beside = getattr(model, "condition_inputs", 0) if name == INPUT else None
            tensor.copy_(_fitted(name, given[name], tensor, beside, path))


def _fitted(name: str, given: Tensor, own: Tensor, beside: int | None, path: Path) -> Tensor:
    """``given`` in the shape of ``own``; zeros for further inputs of the layer that may have some.

    Args:
        name: of the tensor.
        given, own: the other network's, and this one's.
        beside: how many of the layer's last inputs are the condition's; None for other layers.
        path: for messages.
    """
    if given.shape == own.shape and given.is_floating_point() == own.is_floating_point():
        return given
    same = given.dim() == own.dim() > 1 and given.shape[:1] + given.shape[2:] == own.shape[:1] + own.shape[2:]
    if beside is None or not same or given.shape[1] > own.shape[1] or given.shape[1] <= beside:
        raise CheckpointError(
            f"training.init={path} is another network's: expected {name} {list(own.shape)}, got "
            f"{list(given.shape)}; give the run the same model, prediction and conditions"
        )
    wider, event = torch.zeros_like(own), given.shape[1] - beside
    wider[:, :event] = given[:, :event]
    wider[:, own.shape[1] - beside :] = given[:, event:]
    return wider
