"""What of a training step ``torch.compile`` makes one graph of: the network, or all from pairs to loss.

A graph is whole or it is refused (``fullgraph=True``). What a prediction reads off the prior, such as which
rows have which basis, depends on the labels of the batch: it stands in the graph as one operator that is
opaque to it, as those of :mod:`flowprior.ops` do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, TypeVar, cast
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from flowprior.conditions import Conditions, describe_value
from flowprior.errors import OptionError
from flowprior.flow.predictions import Prediction, View
from flowprior.training.config import COMPILED
from flowprior.training.engine import Engine

NOTHING, NETWORK, STEP = COMPILED
BACKEND = "inductor"
F = TypeVar("F", bound=Callable[..., Any])
_served: WeakValueDictionary[int, Prediction] = WeakValueDictionary()


def check_compiled(what: str, engine: Engine, intervals: bool = False) -> None:
    """Refuse graphs that processes which talk in between would break, or that training on intervals would.

    Raises:
        OptionError: what to choose instead.
    """
    if what == STEP and intervals:
        raise OptionError(
            f"training.compile={STEP}: prediction 'average-velocity' calls the network on rows that the "
            f"times choose, which no graph holds; choose compile={NETWORK}"
        )
    if what == STEP and engine.size > 1:
        raise OptionError(
            f"training.compile={STEP}: expected one process, got {engine.size}; choose compile={NETWORK}"
        )


def compiled_network(model: nn.Module, what: str) -> nn.Module:
    """``model``, or what calls its compiled forward pass on the same weights, where ``what`` says so."""
    if what != NETWORK:
        return model
    network = torch.compile(model, fullgraph=True, dynamic=False, backend=BACKEND)
    assert isinstance(network, nn.Module)
    return network


def compiled_step(function: F, what: str) -> F:
    """``function``, or one graph of it, where ``what`` says so.

    The graphs of a function are kept with its code, and only a few of them: a copy has its own.
    """
    if what != STEP:
        return function
    copied = cast("F", FunctionType(function.__code__.replace(), function.__globals__, function.__name__))
    graph = torch.compile(copied, fullgraph=True, dynamic=False, backend=BACKEND)
    return cast("F", graph)


def traceable(prediction: Prediction, what: str) -> Prediction:
    """``prediction``, or one that a graph may hold, where there is to be one of the whole step."""
    asks_the_prior = type(prediction).view is not Prediction.view
    return OpaqueView(prediction) if what == STEP and asks_the_prior else prediction


class OpaqueView(Prediction):
    """A prediction whose view is a single operator to ``torch.compile``.

    Args:
        inner: whose view and regression it has.
    """

    def __init__(self, inner: Prediction) -> None:
        self.inner, self.path = inner, inner.path
        self.number = id(inner)
        _served[self.number] = inner

    def view(self, x: Tensor, t: Tensor, cond: Conditions | None) -> View:
        """As the inner prediction's, of a condition that is one tensor, or of none.

        Raises:
            OptionError: another condition.
        """
        if not (cond is None or isinstance(cond, Tensor)):
            raise OptionError(
                f"training.compile={STEP}: expected labels, embeddings or no condition, got "
                f"{describe_value(cond)}; choose compile={NETWORK}"
            )
        inputs, *rest = torch.ops.flowprior.prediction_view(x, t, cond, self.number)
        return View(inputs, *rest)

    def velocity(self, output: Tensor, view: View, x: Tensor, t: Tensor) -> Tensor:
        return self.inner.velocity(output, view, x, t)

    def regression(self, output: Tensor, view: View, x0: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner.regression(output, view, x0, u)


@torch.library.custom_op("flowprior::prediction_view", mutates_args=())
def _prediction_view(x: Tensor, t: Tensor, cond: Tensor | None, number: int) -> list[Tensor]:
    view = _served[number].view(x, t, cond)
    found = [tensor for tensor in view if tensor is not None]
    # An operator returns no argument of its own.
    return [tensor.clone() if tensor is x else tensor.contiguous() for tensor in found]


@_prediction_view.register_fake
def _shapes(x: Tensor, t: Tensor, cond: Tensor | None, number: int) -> list[Tensor]:
    kind = type(_served[number])
    inputs = x.new_empty(len(x), kind.inputs * x.shape[1], *x.shape[2:])
    return [inputs, *(x.new_empty(x.shape) for _ in range(kind.beside))]


@contextmanager
def compiling(what: str) -> Iterator[None]:
    """Around a call of what is compiled: errors of ``torch.compile`` in one line.

    Raises:
        OptionError: no whole graph can be made of it, or there is no compiler.
    """
    if what == NOTHING:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import InductorError

    try:
        yield
    except (TorchDynamoException, InductorError) as error:
        reason = " ".join((str(error).strip().splitlines() or [type(error).__name__])[0].split())
        raise OptionError(
            f"training.compile={what}: torch.compile cannot make one graph of it ({reason}); "
            f"choose compile={NOTHING}"
        ) from error
