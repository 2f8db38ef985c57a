"""The digest that says which flow a value belongs to."""

from __future__ import annotations

from torch import Tensor, nn

from flowprior.flow import Flow
from flowprior.storage.digests import settings_digest, tensors_digest


def flow_digest(flow: Flow) -> str | None:
    """sha256 over weights, prior and the names of the parts; None where the model is a plain function."""
    if not isinstance(flow.model, nn.Module):
        return None
    tensors = {name: value for name, value in flow.state_dict().items() if isinstance(value, Tensor)}
    parts = {
        **flow.specs,
        "prediction": flow.prediction,
        "classes": [type(part).__qualname__ for part in (flow.model, flow.prior, flow.coupling, flow.path)],
    }
    return settings_digest({"tensors": tensors_digest(tensors), **parts})
