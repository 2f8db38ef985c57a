"""The parts of a flow, model, prior, coupling, path and condition, and their descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition, Conditions
from flowprior.couplings import Coupling
from flowprior.display.shown import MOST_CHARACTERS, Table, counted, html_of, shape_of, size_of
from flowprior.errors import InputError
from flowprior.flow.predictions import Prediction
from flowprior.flow.readers import Words
from flowprior.models import LatentEncoder
from flowprior.models.base import built_by
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.samplers import Velocity


class FlowParts(nn.Module):
    """The parts of a flow, checked against each other; :class:`flowprior.Flow` says what each of them is.

    Attributes:
        specs: part -> name and options to rebuild it by; empty where the instance says them itself.
        missing_encoder: spec of the encoder that was missing when the flow was loaded; empty where none was.
        words: what words are as the condition: labels by their names, other texts by the flow's reader.

    Raises:
        CouplingError: the prior cannot serve the coupling.
        OptionError: the path is not valid for the prior, or not for the prediction.
        InputError: the encoder does not make the prior's events of such pictures.
    """

    def __init__(
        self,
        model: Velocity | nn.Module,
        prior: Prior,
        coupling: Coupling,
        path: Path,
        condition: Condition,
        *,
        prediction: str = "velocity",
        model_spec: str = "",
        prior_spec: str = "",
        coupling_spec: str = "",
        path_spec: str = "",
        metadata: Mapping[str, Any] | None = None,
        encoder: LatentEncoder | None = None,
        picture_shape: torch.Size | None = None,
        missing_encoder: str = "",
    ) -> None:
        super().__init__()
        coupling.check(prior)
        path.check(prior)
        self.prediction = prediction
        self.predicted: Prediction = Prediction.create(prediction, prior=prior, coupling=coupling, path=path)
        self.model = model
        self.prior = prior
        self.coupling = coupling
        self.path = path
        self.condition = condition
        model_spec = model_spec or built_by(model)
        self.specs = {"model": model_spec, "prior": prior_spec, "coupling": coupling_spec, "path": path_spec}
        self.metadata = dict(metadata or {})
        self.words = Words(condition, self.metadata)
        self.encoder = encoder
        self.picture_shape = picture_shape
        self.missing_encoder = missing_encoder
        if prior.is_fitted:
            self.check_encoder()

    @property
    def event_shape(self) -> torch.Size:
        """Shape of one sample: of a picture, where the flow lives in an encoder's latents."""
        return self.state_shape if self.picture_shape is None else self.picture_shape

    @property
    def state_shape(self) -> torch.Size:
        """Shape of what the flow carries from prior to sample: of a sample, or of its latents."""
        return self.prior.event_shape

    @property
    def default_sampler(self) -> str:
        """Spec of the sampler that suits what the network predicts, where none is chosen."""
        return self.predicted.suited_sampler(self.coupling)

    @property
    def dtype(self) -> torch.dtype | None:
        """Floating-point type of the model's weights; None where it has none."""
        parameters = self.model.parameters() if isinstance(self.model, nn.Module) else ()
        return next((p.dtype for p in parameters if p.is_floating_point()), None)

    def encode(self, x: Tensor) -> Tensor:
        """Return the latents ``[B, *state]`` of events ``[B, *event]``, or the events in a flow without."""
        if self.encoder is None:
            return x
        with torch.no_grad():
            return self.encoder.encode(x.to(self.encoder.dtype)).to(x.dtype)

    def encode_condition(self, cond: Conditions | None) -> Conditions | None:
        """Return what prior and network get for conditions of the data."""
        return cond if self.encoder is None else self.encoder.encode_condition(cond)

    def decode(self, z: Tensor) -> Tensor:
        """Events ``[B, *event]`` of what the flow carries, ``[B, *state]``: its pictures, or itself."""
        if self.encoder is None:
            return z
        with torch.no_grad():
            return self.encoder.decode(z.to(self.encoder.dtype), self.picture_shape).to(z.dtype)

    def __repr__(self) -> str:
        return "\n".join([_heading_of(self), *(f"  {name}: {text}" for name, text in _rows_of(self))])

    def _repr_html_(self) -> str:
        """For Jupyter and for whatever else asks as IPython does."""
        return html_of(_heading_of(self), Table(("part", "what it is"), _rows_of(self)))

    def check_encoder(self) -> None:
        """Check that the encoder makes what the flow carries of pictures of its shape.

        Raises:
            InputError: it does not, or one of the two is missing.
        """
        if self.encoder is None and self.picture_shape is None:
            return
        if self.encoder is None or self.picture_shape is None:
            raise InputError("flow: expected an encoder and the shape of its pictures, got one of the two")
        found = self.encoder.latent_shape(self.picture_shape)
        if found != self.state_shape:
            raise InputError(
                f"flow: expected an encoder to latents {list(self.state_shape)}, got '{self.encoder.kind}', "
                f"which makes {list(found)} of pictures {list(self.picture_shape)}"
            )


def _heading_of(flow: FlowParts) -> str:
    """``Flow of digits, 1,437 examples, 2,000 steps``, as far as its training has said so."""
    stored, step = flow.metadata.get("data"), flow.metadata.get("step")
    data = stored if isinstance(stored, Mapping) else {}
    name, examples = data.get("name"), data.get("examples")
    of = type(flow).__name__ + (
        f" of {' '.join(name.split())[:MOST_CHARACTERS]}" if isinstance(name, str) else ""
    )
    count = counted(examples, "example") if isinstance(examples, int) else ""
    steps = f"trained for {counted(step, 'step')}" if isinstance(step, int) else ""
    return ", ".join(filter(None, (of, count, steps)))


def _rows_of(flow: FlowParts) -> list[tuple[str, str]]:
    """(part, what it is) of each part of a flow."""
    return [
        ("prior", repr(flow.prior)),
        ("coupling", repr(flow.coupling)),
        ("path", repr(flow.path)),
        ("network", _network(flow)),
        ("condition", flow.condition.describe()),
        ("samples", _samples(flow)),
    ]


def _network(flow: FlowParts) -> str:
    model: Any = flow.model
    kind = getattr(model, "__name__", type(model).__name__)
    spec = f"'{flow.specs['model']}'" if flow.specs["model"] else ""
    return ", ".join(filter(None, (kind, spec, size_of(model), f"predicts {flow.prediction}")))


def _samples(flow: FlowParts) -> str:
    if not flow.prior.is_fitted:
        return "of a shape that the prior learns"
    latents = "" if flow.encoder is None else f", decoded from latents {shape_of(flow.state_shape)}"
    dtype = "" if flow.dtype is None else f" in {str(flow.dtype).removeprefix('torch.')}"
    return f"{shape_of(flow.event_shape)}{dtype} on {flow.prior.event_dims.device}{latents}"
