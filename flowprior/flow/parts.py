"""What a flow consists of, and what its files hold: model, prior, coupling, path and condition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.flow.captions import Captions
from flowprior.flow.predictions import make_prediction, suited_sampler
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.samplers import Velocity


class FlowParts(nn.Module):
    """The parts of a flow, checked against each other; :class:`flowprior.Flow` says what each of them is.

    Attributes:
        specs: part -> name and options to rebuild it by; empty where the instance says them itself.
        captions: the text encoder of a flow of embeddings, where one is known, and what it makes of texts.

    Raises:
        CouplingError: the prior cannot serve the coupling.
        OptionError: the path is not valid for the prior, or not for the prediction.
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
    ) -> None:
        super().__init__()
        coupling.check(prior)
        path.check(prior)
        self.prediction = prediction
        self.predicted = make_prediction(prediction, prior, coupling, path)
        self.model = model
        self.prior = prior
        self.coupling = coupling
        self.path = path
        self.condition = condition
        self.specs = {"model": model_spec, "prior": prior_spec, "coupling": coupling_spec, "path": path_spec}
        self.metadata = dict(metadata or {})
        self.captions = Captions(condition, self.metadata)

    @property
    def event_shape(self) -> torch.Size:
        """Shape of one sample."""
        return self.prior.event_shape

    @property
    def default_sampler(self) -> str:
        """Spec of the sampler that suits what the network predicts, where none is chosen."""
        return suited_sampler(self.prediction, self.coupling)

    @property
    def dtype(self) -> torch.dtype | None:
        """Floating-point type of the model's weights; None where it has none."""
        parameters = self.model.parameters() if isinstance(self.model, nn.Module) else ()
        return next((p.dtype for p in parameters if p.is_floating_point()), None)
