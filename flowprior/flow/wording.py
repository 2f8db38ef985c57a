"""What a flow says of itself at a prompt and in a notebook: each part in one line.

:class:`flowprior.flow.parts.FlowParts` asks here, so its type is not named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowprior.display import counted, shape_of, size_of
from flowprior.display.shown import MOST_CHARACTERS


def heading_of(flow: Any) -> str:
    """``Flow of digits, 1,437 examples, 2,000 steps``, as far as its training has said so."""
    data, step = _mapping(flow.metadata.get("data")), flow.metadata.get("step")
    name, examples = data.get("name"), data.get("examples")
    of = type(flow).__name__ + (
        f" of {' '.join(name.split())[:MOST_CHARACTERS]}" if isinstance(name, str) else ""
    )
    count = counted(examples, "example") if isinstance(examples, int) else ""
    steps = f"trained for {counted(step, 'step')}" if isinstance(step, int) else ""
    return ", ".join(filter(None, (of, count, steps)))


def rows_of(flow: Any) -> list[tuple[str, str]]:
    """(part, what it is) of each part of a flow."""
    return [
        ("prior", repr(flow.prior)),
        ("coupling", repr(flow.coupling)),
        ("path", repr(flow.path)),
        ("network", _network(flow)),
        ("condition", flow.condition.describe()),
        ("samples", _samples(flow)),
    ]


def _network(flow: Any) -> str:
    model = flow.model
    kind = getattr(model, "__name__", type(model).__name__)
    spec = f"'{flow.specs['model']}'" if flow.specs["model"] else ""
    return ", ".join(filter(None, (kind, spec, size_of(model), f"predicts {flow.prediction}")))


def _samples(flow: Any) -> str:
    if not flow.prior.is_fitted:
        return "of a shape that the prior learns"
    latents = "" if flow.encoder is None else f", decoded from latents {shape_of(flow.state_shape)}"
    dtype = "" if flow.dtype is None else f" in {str(flow.dtype).removeprefix('torch.')}"
    return f"{shape_of(flow.event_shape)}{dtype} on {flow.prior.event_dims.device}{latents}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
