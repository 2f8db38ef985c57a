"""The models: velocity networks v(x, t, c), their registry, and how one is built for a data set and run.

Every model is called as ``v(x [B, *event], t [B], cond) -> [B, *event]`` with cond labels int64
``[B]``, embeddings ``[B, E]``, token states, named parts of these, or None. Label tables have one row more
than there are classes: the last is the null label of classifier-free guidance; the null embedding is all
zeros. Any other ``nn.Module`` with this call works just as well. Every model has the option ``reads``, by
which it is shown some parts of the condition.

Under prediction ``preconditioned`` (:mod:`flowprior.flow.predictions`) a model sees several tensors of
the event's shape side by side along their first dimension, as many as its argument ``inputs`` says.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition, Conditions, Parts
from flowprior.conditions.rows import BETWEEN, choose_parts
from flowprior.conditions.values import describe_value
from flowprior.errors import InputError, OptionError
from flowprior.registry import Registry, Spec
from flowprior.registry.options import did_you_mean

MODELS: Registry[nn.Module] = Registry("model", "flowprior.models", nn.Module)
GIVEN = ("event_shape", "condition", "inputs")
READS = "reads"
"""The option of every model, beside those of its constructor."""
READS_MEANING = "parts of the condition that it is shown, with + between; empty for all."
BUILT_BY = "flowprior_spec"
"""Attribute of a network that was built by a spec, which copies keep."""
BFLOAT16 = "bfloat16"
PRECISIONS = ("float32", BFLOAT16)


def build_model(spec: str, event_shape: torch.Size, condition: Condition, inputs: int = 1) -> nn.Module:
    """Build the model ``spec`` for events of ``event_shape`` and their ``condition``.

    The network remembers what it was built by (:func:`built_by`), so that a saved flow of it can be read.

    Args:
        spec: a name or ``name:key=value,…``; ``"auto"`` picks ``unet`` for events [C, H, W], else ``mlp``.
        event_shape: of what it gives.
        condition: kind and size of the condition.
        inputs: tensors of the event's shape that it sees side by side along their first dimension.

    Raises:
        UnknownComponentError: no such model.
        OptionError: an option the model does not have or cannot take, or events it cannot serve.
    """
    parsed = MODELS.parse(spec)
    own = "unet" if len(event_shape) == 3 else "mlp"
    name = own if parsed.name == "auto" else parsed.name
    options = dict(parsed.options)
    if clash := [option for option in options if option in GIVEN]:
        raise OptionError(f"model '{name}': {clash[0]} follows from the data; leave it out")
    known = list(model_options(name))
    for option in options:
        if option not in known:
            near = did_you_mean(option, known)
            raise OptionError(f"model '{name}' has no option '{option}'{near} options: {', '.join(known)}")
    reads = options.pop(READS, "")
    read = condition if reads == "" else _read_condition(condition, reads, f"model '{name}'")
    given: dict[str, Any] = {"event_shape": torch.Size(event_shape), "condition": read}
    if inputs > 1:
        if not takes_inputs(name):
            raise OptionError(
                f"model '{name}' sees the event alone (it has no argument inputs); choose another model, or "
                "prediction 'residual' (--set training.prediction=residual)"
            )
        given["inputs"] = inputs
    net = MODELS.create(name, **given, **options)
    if reads:
        net = ReadingModel(net, tuple(reads.split(BETWEEN)))
    setattr(net, BUILT_BY, str(Spec(name, parsed.options)))
    return net


def built_by(net: object) -> str:
    """Return the spec that :func:`build_model` built a network by, even a compiled one; empty for others."""
    net = getattr(net, "_orig_mod", net)
    return vars(net).get(BUILT_BY, "") if isinstance(net, nn.Module) else ""


def takes_inputs(spec: str) -> bool:
    """Return True if the model ``spec`` can see several tensors of the event's shape side by side."""
    name = MODELS.parse(spec).name
    return name == "auto" or "inputs" in MODELS.record(name).options


def model_options(name: str) -> dict[str, Any]:
    """Return the options of the model ``name`` that a user may set, with their defaults."""
    own = MODELS.record(name).options
    return {option: default for option, default in own.items() if option not in GIVEN} | {READS: ""}


def parse_widths(value: object, owner: str) -> tuple[int, ...]:
    """Return the channels of each level from ``"64-128"``, ``128`` or a sequence of integers.

    Raises:
        OptionError: it is none of these, or a width is not positive.
    """
    parts = value.split("-") if isinstance(value, str) else [value] if isinstance(value, int) else value
    try:
        widths = tuple(int(part) for part in parts)  # type: ignore[union-attr]
    except (TypeError, ValueError):
        widths = ()
    if not widths or min(widths) < 1:
        raise OptionError(f"{owner}: widths={value!r} is not possible; write widths such as 64-128")
    return widths


def check_picture(owner: str, event_shape: torch.Size) -> None:
    """Check that events have the shape [C, H, W].

    Raises:
        OptionError: they do not.
    """
    if len(event_shape) != 3:
        raise OptionError(f"{owner}: expected events [C, H, W], got {list(event_shape)}; use model mlp")


class ReadingModel(nn.Module):
    """Shows a network the parts ``names`` of the condition; a single one as itself.

    Args:
        net: v(x, t, cond) of these parts.
        names: of the parts.
    """

    def __init__(self, net: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.net = net
        self.names = names

    def forward(self, x: Tensor, t: Tensor, cond: Conditions | None = None) -> Tensor:
        """Call the network; the condition has to be :class:`flowprior.conditions.Parts`.

        Raises:
            InputError: it is not.
        """
        if not isinstance(cond, Parts):
            raise InputError(
                f"model: expected a condition with the parts {', '.join(self.names)}, got "
                f"{describe_value(cond)}"
            )
        read: Any = cond[self.names[0]] if len(self.names) == 1 else cond.only(self.names)
        return self.net(x, t, read)


def in_precision(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return a context for passes in ``precision``, one of :data:`PRECISIONS`; weights stay float32."""
    if precision != BFLOAT16 and not torch.is_autocast_enabled(device.type):
        return nullcontext()  # which takes a tenth of the time
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == BFLOAT16)


def _read_condition(condition: Condition, reads: object, owner: str) -> Condition:
    """Return the condition of a network that reads the parts ``reads``: one alone is that part itself.

    Raises:
        OptionError: a name that is no part of the condition.
    """
    if not isinstance(reads, str):
        raise OptionError(f"{owner}: reads={reads!r} is not possible; expected the name of a part")
    try:
        names = choose_parts(condition.names, reads, owner)
    except InputError as error:
        raise OptionError(str(error)) from None
    return condition[names[0]] if len(names) == 1 else condition.only(names)
