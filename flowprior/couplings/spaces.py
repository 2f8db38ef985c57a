"""What couplings measure distances of: the events themselves, or the coordinates in which data vary most."""

from __future__ import annotations

from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.errors import CouplingError
from flowprior.priors import Prior, latents_of

SPACES = ("events", "coordinates")


def check_space(owner: str, space: str, prior: Prior) -> None:
    """Refuse distances between coordinates that the prior does not have.

    Raises:
        CouplingError: ``space="coordinates"`` with a prior without a subspace; ``owner`` is named.
    """
    latents = latents_of(prior)
    if space == "coordinates" and (latents is None or not latents.fits_latents):
        raise CouplingError(
            f"{owner}: prior '{prior.name}' has no subspace to measure distances in; use space=events, "
            "or prior latent-gmm or flow"
        )


def points_of(space: str, prior: Prior, x: Tensor, cond: Conditions | None) -> Tensor:
    """What distances are taken of: x ``[B, *event]`` as rows ``[B, D]``, or their coordinates ``[B, r]``.

    Coordinates are those of the prior's frame under ``cond``: along its principal axes, in units of the
    data's standard deviation there.
    """
    if space == "events":
        return x.flatten(1)
    latents = latents_of(prior)
    frame = None if latents is None else latents.frame(prior.reading(cond, "frame"), len(x))
    assert frame is not None
    return frame.coordinates(x.flatten(1).to(frame.loc))
