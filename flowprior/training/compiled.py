"""The network of a training as one graph of ``torch.compile``, whole (``fullgraph=True``) or refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from flowprior.errors import OptionError
from flowprior.training.config import COMPILED

NOTHING, NETWORK = COMPILED
BACKEND = "inductor"


def compiled_network(model: nn.Module, what: str) -> nn.Module:
    """``model``, or what calls its compiled forward pass on the same weights, where ``what`` says so."""
    if what != NETWORK:
        return model
    network = torch.compile(model, fullgraph=True, dynamic=False, backend=BACKEND)
    assert isinstance(network, nn.Module)
    return network


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
