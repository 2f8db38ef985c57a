"""A fitted prior in a folder of its own: ``prior.json`` says how to rebuild it, and binds its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.errors import CheckpointError, FlowpriorError
from flowprior.priors.old_formats import current_spec
from flowprior.registry import Registry, Spec
from flowprior.registry.plugins import package_version
from flowprior.registry.registry import spec_of
from flowprior.storage.digests import read_bound, save_bound
from flowprior.storage.tensor_files import SizedBy, sizes_of
from flowprior.storage.writing import one_line

FORMAT = 2
"""The format of a saved prior. Those of format 1 are read, too (:mod:`flowprior.priors.old_formats`)."""
DESCRIPTION, STEM = "prior.json", "prior"
KEPT = "training_data"
"""Key of what the prior holds of its training data, in words; there only where it holds some."""
MOST_CHARACTERS = 200
"""Of what a file says that the prior was fitted to."""
TRIED = 64
"""Rows that are drawn of a prior that was just loaded, to see that it can be."""


def save_prior(prior: Any, spec: str, folder: Path) -> None:
    """Write a fitted prior, which ``spec`` rebuilds.

    Raises:
        CheckpointError: a tensor holds NaN or +∞, the folder holds something else, or cannot be written.
    """
    tensors = {name: value for name, value in prior.state_dict().items() if isinstance(value, Tensor)}
    refuse_impossible(tensors, "prior.save")
    values = {"format": FORMAT, "flowprior": package_version(), "prior": spec, "fitted_to": prior.fitted_to}
    values |= {KEPT: prior.kept_data} if prior.kept_data else {}
    save_bound(folder, DESCRIPTION, STEM, values, tensors)


def load_prior(resolve: Callable[[Any], Any], folder: Path) -> Any:
    """The prior in ``folder``, on the CPU; ``resolve`` makes one of its spec.

    Raises:
        CheckpointError: missing, damaged, of a newer version, or tensors that are none of a fitted prior.
    """
    values, tensors = read_bound(folder, DESCRIPTION)
    path, written = folder / DESCRIPTION, values.get("format")
    if type(written) is not int or type(values.get("prior")) is not str or written > FORMAT:
        raise CheckpointError(
            f"{path} has format {written!r}, this flowprior reads formats up to {FORMAT}; install a newer one"
        )
    refuse_impossible(tensors, str(folder))
    try:
        prior = resolve(current_spec(values["prior"]))
        kinds = kinds_of(prior)
        with SizedBy(sizes_of(tensors), f"prior '{values['prior']}'"):
            prior.load_state_dict(tensors, assign=True)
        check_types(prior, kinds)
        draw_some(prior)
        fitted_to = values.get("fitted_to")  # older versions wrote none
        prior.fitted_to = " ".join(fitted_to.split())[:MOST_CHARACTERS] if isinstance(fitted_to, str) else ""
    except FlowpriorError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    except Exception as error:  # Whatever a prior makes of tensors that are not its own.
        raise CheckpointError(
            f"{folder}: the tensors do not fit the prior '{values['prior']}': {one_line(error)}; fit it again"
        ) from error
    return prior


def unfitted(registry: Registry[Any], own: Any, spec: Spec) -> Any:
    """Return the prior to read a saved one of ``spec`` into: the user's own, or one that is made of the spec.

    Raises:
        CheckpointError: the user's own has other options than the saved one.
    """
    made = registry.resolve(spec)
    if own is None:
        return made
    expected, got = (spec_of(registry, prior) for prior in (made, own))
    if expected != got:
        raise CheckpointError(f"expected prior='{expected}', as it was saved, got '{got}'; give its options")
    return own


def refuse_impossible(tensors: Mapping[str, Tensor], source: str) -> None:
    """Refuse NaN and +∞; log weights may be −∞, of what never occurs.

    Raises:
        CheckpointError: which tensor holds them.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and bool((torch.isnan(tensor) | torch.isposinf(tensor)).any()):
            raise CheckpointError(
                f"{source}: tensor '{name}' holds NaN or infinite values; fit the prior again"
            )


def kinds_of(prior: nn.Module) -> dict[str, bool]:
    """Return the tensors of a prior, into which nothing was loaded yet, that are of floating point."""
    return {name: tensor.is_floating_point() for name, tensor in prior.state_dict().items()}


def check_types(prior: nn.Module, kinds: Mapping[str, bool]) -> None:
    """Refuse complex tensors, and floating-point ones where ``kinds`` has whole numbers.

    Raises:
        ValueError: which tensor.
    """
    for name, tensor in prior.state_dict().items():
        if tensor.is_complex() or (tensor.is_floating_point() and not kinds.get(name, True)):
            raise ValueError(f"tensor '{name}' is {tensor.dtype}")


@torch.no_grad()
def draw_some(prior: Any) -> Tensor:
    """Draws of the marginal source.

    Raises:
        ValueError: they are no finite numbers.
    """
    drawn = prior.sample_marginal(TRIED, generator=torch.Generator().manual_seed(0))
    if not drawn.is_floating_point() or not bool(torch.isfinite(drawn).all()):
        raise ValueError("a draw from it is not of finite numbers")
    return drawn
