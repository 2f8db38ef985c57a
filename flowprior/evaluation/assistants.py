"""Assistants: the processes that do parts of an evaluation for the first one, which decides what is done.

The first process looks up which values are kept, asks for what is missing, computes the metrics and writes
the files; the others wait for what they are to do. So no two processes can disagree on what comes next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, distributed

from flowprior.errors import FlowpriorError
from flowprior.features.base import FeatureExtractor
from flowprior.processes.sending import compact, sendable

T = TypeVar("T")
PATIENCE = timedelta(days=7)
"""How long the others wait: the first process may compute metrics for hours."""


class _Message(NamedTuple):
    """What the first process tells: a task with its terms, alike or in parts; or how the evaluation ended."""

    task: str | None
    terms: Mapping[str, Any] | None = None
    result: Any = None
    error: BaseException | None = None


class Assistants:
    """The processes of a group, which all construct this, and then all call :meth:`run`.

    Args:
        group: of ``torch.distributed``.
        tasks: name -> what any process can be asked for.
    """

    def __init__(self, group: distributed.ProcessGroup, tasks: Mapping[str, Callable[..., Any]]) -> None:
        ranks = distributed.get_process_group_ranks(group)
        # Objects go through the host's memory, whatever the group sends its tensors through.
        made = distributed.new_group(ranks, PATIENCE, "gloo", use_local_synchronization=True)
        self._group = cast("distributed.ProcessGroup", made)
        self._first, self.size = ranks[0], len(ranks)
        self.is_first = distributed.get_rank(self._group) == 0
        self.tasks = tasks

    def run(self, work: Callable[[], T]) -> T:
        """What ``work`` gives in the first process, on each of them; what it raises, each of them raises."""
        try:
            return self._lead(work) if self.is_first else self._serve()
        finally:
            distributed.destroy_process_group(self._group)

    def _lead(self, work: Callable[[], T]) -> T:
        try:
            result = work()
        except BaseException as error:
            self._tell(_Message(None, error=sendable(error)))
            raise
        self._tell(_Message(None, result=result))
        return result

    def together(self, task: str, **terms: Any) -> Any:
        """What a task gives here, which all processes do at the same time, with the same terms."""
        self._tell(_Message(task, terms))
        return self.tasks[task](**terms)

    def spread(self, task: str, parts: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What a task gives for the arguments of each process, in their order.

        Raises:
            Exception: what the task raised in one of them.
        """
        self._tell(_Message(task))
        return self._part(task, list(parts))

    def _part(self, task: str, parts: list[tuple[Any, ...]] | None) -> list[Any]:
        own: list[Any] = [None]
        distributed.scatter_object_list(own, parts, self._first, group=self._group)
        found, error = None, None
        try:
            found = self.tasks[task](*own[0])
        except Exception as raised:
            error = sendable(raised)
        results: list[Any] | None = [None] * self.size if self.is_first else None
        distributed.gather_object((found, error), results, self._first, group=self._group)
        for _, failed in results or ():
            if failed is not None:
                raise failed
        return [found for found, _ in results or ()]

    def _serve(self) -> Any:
        """Do what the first process asks for, until it says how the evaluation ended."""
        while True:
            told: list[Any] = [None]
            distributed.broadcast_object_list(told, self._first, group=self._group)
            message: _Message = told[0]
            if message.task is None:
                if message.error is not None:
                    raise message.error
                return message.result
            try:
                if message.terms is None:
                    self._part(message.task, None)
                else:
                    self.tasks[message.task](**message.terms)
            except (FlowpriorError, torch.OutOfMemoryError):
                continue  # the first process raises it too, and knows what to do

    def _tell(self, message: _Message) -> None:
        distributed.broadcast_object_list([message], self._first, group=self._group)


class SpreadFeatures:
    """An extractor whose events are shared out over assistants.

    Args:
        extractor: what each of them has.
        number: by which the task ``"features"`` knows it.
        assistants: that do the task.
    """

    def __init__(self, extractor: FeatureExtractor, number: int, assistants: Assistants) -> None:
        self._extractor, self._number, self._assistants = extractor, number, assistants

    def __getattr__(self, name: str) -> Any:
        return getattr(self._extractor, name)

    @property
    def features_name(self) -> str:
        return self._extractor.features_name

    @property
    def dim(self) -> int:
        return self._extractor.dim

    def identity(self) -> str:
        """As of the extractor: equal for equal features."""
        return self._extractor.identity()

    def features(self, x: Tensor) -> Tensor:
        """Features ``[N, F]`` on the CPU of events x ``[N, *event]``."""
        if len(x) < self._assistants.size:
            return self._extractor.features(x)
        parts = [(self._number, compact(part)) for part in x.tensor_split(self._assistants.size)]
        return torch.cat(self._assistants.spread("features", parts))
