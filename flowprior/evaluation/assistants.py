"""Assistants: the processes that generate samples with the first one, which decides what is done.

The first process looks up which values are kept, asks for the samples that are missing, computes the metrics
and writes the files; the others wait for what they are to do. So no two processes can disagree on what comes
next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import distributed

from flowprior.conditions import Conditions
from flowprior.errors import FlowpriorError
from flowprior.processes.group import sendable
from flowprior.samplers import Solution

T = TypeVar("T")
PATIENCE = timedelta(days=7)
"""How long the others wait: the first process may compute metrics for hours."""


class _Message(NamedTuple):
    """What the first process tells: the terms of samples to solve; or, without, how the evaluation ended."""

    terms: Mapping[str, Any] | None = None
    result: Any = None
    error: BaseException | None = None


class Assistants:
    """The processes of a group, which all construct this, and then all call :meth:`run`.

    Args:
        group: of ``torch.distributed``.
        solve: generates samples, together with the other processes.
    """

    def __init__(self, group: distributed.ProcessGroup, solve: Callable[..., Solution]) -> None:
        ranks = distributed.get_process_group_ranks(group)
        # Objects go through the host's memory, whatever the group sends its tensors through.
        made = distributed.new_group(ranks, PATIENCE, "gloo", use_local_synchronization=True)
        self._group = cast("distributed.ProcessGroup", made)
        self._first = ranks[0]
        self.is_first = distributed.get_rank(self._group) == 0
        self._solve = solve

    def run(self, work: Callable[[], T]) -> T:
        """What ``work`` gives in the first process, on each of them; what it raises, each of them raises."""
        try:
            if not self.is_first:
                return self._serve()
            try:
                result = work()
            except BaseException as error:
                self._tell(_Message(error=sendable(error)))
                raise
            self._tell(_Message(result=result))
            return result
        finally:
            distributed.destroy_process_group(self._group)

    def solve(self, cond: Conditions | None, n: int, *, generator: torch.Generator, **terms: Any) -> Solution:
        """Called like :meth:`flowprior.flow.Flow.solve`: samples that all processes generate together."""
        terms |= {"cond": cond, "n": n, "seed": generator.initial_seed()}
        self._tell(_Message(terms))
        return self._solve(**terms)

    def _serve(self) -> Any:
        """Do what the first process asks for, until it says how the evaluation ended."""
        while True:
            told: list[Any] = [None]
            distributed.broadcast_object_list(told, self._first, group=self._group)
            message: _Message = told[0]
            if message.terms is None:
                if message.error is not None:
                    raise message.error
                return message.result
            try:
                self._solve(**message.terms)
            except (FlowpriorError, torch.OutOfMemoryError):
                continue  # the first process raises it too, and knows what to do

    def _tell(self, message: _Message) -> None:
        distributed.broadcast_object_list([message], self._first, group=self._group)
