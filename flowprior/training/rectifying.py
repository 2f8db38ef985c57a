"""Training on a flow's own pairs, coupling ``reflow``: which flow, its pairs, what a run shares with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.couplings import Coupling
from flowprior.couplings.reflow import AUTO, NO_FLOW, OWNER, ReflowCoupling
from flowprior.data.base import Data
from flowprior.errors import CouplingError
from flowprior.flow import Flow
from flowprior.flow.description import read_description, weights_digest
from flowprior.flow.files import find_flow
from flowprior.flow.sampling import batches, evaluating
from flowprior.models import LatentEncoder
from flowprior.models.encoders import EncodedData
from flowprior.priors import Prior
from flowprior.registry.registry import spec_of
from flowprior.samplers import Sampler, Velocity

TEACHER = "teacher"
"""Key of info.json: the flow whose pairs the run is trained on."""
WEIGHTS = "weights_sha256"
AT_ONCE = 250
"""Pairs that are made at once."""
BACK = "midpoint"
"""Backwards no grid of the sampler's applies, and the second order makes up for it."""


def with_origin(spec: str) -> str:
    """The spec of a coupling; of ``reflow`` with its ``origin``, which the description of its flow says.

    Raises:
        CouplingError: the training of the flow is not finished.
        CheckpointError: there is no flow, or its description is damaged.
    """
    if Coupling.registry.parse(spec).name != "reflow":
        return spec
    coupling = Coupling.registry.resolve(spec)
    if coupling.flow and coupling.origin == AUTO:
        coupling.origin = _origin_of(_folder_of(coupling))
    return spec_of(Coupling.registry, coupling)


def load_teacher(coupling: Coupling, prior: Prior, data: Data, device: torch.device) -> None:
    """Load the flow of a coupling ``reflow`` that has none yet, on ``device``; nothing for other couplings.

    Args:
        coupling: of a run.
        prior: of the run; it may be unfitted.
        data: what the run is trained on, in latents where it is.
        device: of the run.

    Raises:
        CouplingError: no flow is named, or one of other events, conditions, latents, prior or coupling than
            the run's.
        CheckpointError: it cannot be read.
    """
    if not isinstance(coupling, ReflowCoupling) or coupling.teacher is not None:
        return
    if not coupling.flow:
        raise CouplingError(NO_FLOW)
    folder = _folder_of(coupling)
    flow, origin = Flow.load(folder, device=device), _origin_of(folder)
    if coupling.origin == AUTO:
        coupling.origin = origin
    own, encoder = Prior.registry, data.encoder if isinstance(data, EncodedData) else None
    _check("a coupling of origin", coupling.origin, origin, coupling)
    _check("a prior", spec_of(own, prior), spec_of(own, flow.prior), coupling)
    _check("events of shape", list(data.event_shape), list(flow.state_shape), coupling)
    _check("the condition", data.condition, flow.condition, coupling)
    _check("latents of", _identity(encoder), _identity(flow.encoder), coupling)
    coupling.teacher, coupling.digest = FlowTeacher(flow), weights_digest(read_description(folder))


def teacher_of(coupling: Coupling) -> dict[str, str] | None:
    """Return path and sha256 of the weights of the flow that ``reflow`` has loaded; None for others."""
    if not isinstance(coupling, ReflowCoupling) or not coupling.digest:
        return None
    return {"flow": coupling.flow, WEIGHTS: coupling.digest}


def check_teacher(coupling: Coupling, recorded: object) -> None:
    """Refuse to go on with the pairs of another flow than the one that a run began with.

    Args:
        coupling: of the run.
        recorded: what :func:`teacher_of` gave at its begin; a run of an older version has noted nothing.

    Raises:
        CouplingError: the flow that is named has other weights by now.
    """
    before = recorded.get(WEIGHTS) if isinstance(recorded, Mapping) else None
    now = teacher_of(coupling) or {}
    if before and now and before != now[WEIGHTS]:
        raise CouplingError(
            f"{OWNER}: expected the flow that the run began with, of weights sha256 {before[:16]}…, got one "
            f"of {now[WEIGHTS][:16]}… in {now['flow']}: it was trained on or replaced; put the first one "
            "back, or train in another directory"
        )


class FlowTeacher:
    """A flow's pairs, forth from source samples and back from events, of what the flow carries.

    Args:
        flow: in latents, its pairs are pairs of latents.
    """

    def __init__(self, flow: Flow) -> None:
        self.flow = flow

    @property
    def prior(self) -> Prior:
        """The prior of the flow."""
        return self.flow.prior

    def forth(self, x0: Tensor, cond: Conditions | None, *, nfe: int, guidance: float) -> Tensor:
        """The samples ``[B, *event]`` that source samples are carried to, by the sampler that suits the flow.

        Args:
            x0: source samples ``[B, *event]``.
            cond: of each row.
            nfe: evaluations of the flow.
            guidance: strength of classifier-free guidance.

        Raises:
            OptionError: guidance of a flow without a condition, or of one trained without dropping it.
        """
        sampler = Sampler.registry.resolve(self.flow.default_sampler)
        return self._solved(sampler, self.flow.guided(guidance), x0, cond, nfe)

    def back(self, x1: Tensor, cond: Conditions | None, *, nfe: int, guidance: float) -> Tensor:
        """The source samples ``[B, *event]`` of events: x' = −v(x, 1 − s, c) from s = 0 to 1.

        Arguments and errors are those of :meth:`forth`; an odd ``nfe`` is one more.
        """

        def backwards(x: Tensor, s: Tensor, c: Conditions | None) -> Tensor:
            return -self.flow.velocity(x, 1 - s, c, guidance)

        return self._solved(Sampler.create(BACK), backwards, x1, cond, nfe + nfe % 2)

    def _solved(
        self, sampler: Sampler, velocity: Velocity, x: Tensor, cond: Conditions | None, nfe: int
    ) -> Tensor:
        rows = batches(x.to(self.flow.dtype or x.dtype), cond, AT_ONCE)
        with torch.no_grad(), evaluating(self.flow.model):
            parts = [sampler.integrate(velocity, part, c, nfe=nfe) for part, c in rows]
        return torch.cat(parts).to(x)


def _check(what: str, wanted: object, had: object, coupling: ReflowCoupling) -> None:
    """Refuse a run that is not like the flow whose pairs it takes."""
    if wanted != had:
        raise CouplingError(
            f"{OWNER}: expected {what} {had}, which the flow in {coupling.flow} has, got {wanted}; give the "
            "run the same, or name another flow"
        )


def _identity(encoder: LatentEncoder | None) -> str:
    return "no encoder" if encoder is None else encoder.identity()


def _folder_of(coupling: ReflowCoupling) -> Path:
    """The folder with the ``flow.json`` of the flow that is named, which of a run has to be finished."""
    location = find_flow(Path(coupling.flow).expanduser())
    if location.note:
        raise CouplingError(
            f"{OWNER}: expected a flow that stays as it is, got one that is trained further: "
            f"{location.note}; finish its training, or name one of its checkpoints"
        )
    return location.folder


def _origin_of(folder: Path) -> str:
    """Return the name of the coupling that a flow was trained with, or of the first that it descends from."""
    spec = Coupling.registry.parse(read_description(folder)["coupling"])
    return str(spec.options["origin"]) if spec.name == "reflow" else spec.name
