"""Helpers: the processes that do parts of an evaluation for the first one, which decides what is done.

The first process looks up which values are kept, asks for what is missing, computes the metrics and writes
the files; the others wait for what they are to do. So no two processes can disagree on what comes next.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, distributed

from flowprior.features.base import FeatureExtractor

T = TypeVar("T")
PATIENCE = timedelta(days=7)
"""How long the others wait: the first process may compute metrics for hours."""


class _Message(NamedTuple):
    """What the first process tells: a task with its terms, alike or in parts; or how the evaluation ended."""

    task: str | None
    terms: Mapping[str, Any] | None = None
    result: Any = None
    error: BaseException | None = None


class Helpers:
    """The processes of a group, which all construct this, and then all call :meth:`run`.

    Args:
        group: of ``torch.distributed``.
        tasks: name -> what any process can be asked for.
    """

    def __init__(self, group: distributed.ProcessGroup, tasks: Mapping[str, Callable[..., Any]]) -> None:
        ranks = distributed.get_process_group_ranks(group)
        # Objects go through the host's memory, whatever the group sends its tensors through.
        self._group = cast("distributed.ProcessGroup", distributed.new_group(ranks, PATIENCE, "gloo"))
        self._first, self.size = ranks[0], len(ranks)
        self.is_first = distributed.get_rank(self._group) == 0
        self.tasks = tasks

    def run(self, work: Callable[[], T]) -> T:
        """What ``work`` gives in the first process, on each of them; what it raises, each of them raises."""
        if not self.is_first:
            return self._serve()
        try:
            result = work()
        except BaseException as error:
            self._tell(_Message(None, error=_sendable(error)))
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
            error = _sendable(raised)
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
            except Exception:
                continue  # the first process raises it too, and knows what to do

    def _tell(self, message: _Message) -> None:
        distributed.broadcast_object_list([message], self._first, group=self._group)


class SpreadFeatures:
    """An extractor whose events are shared out over helpers.

    Args:
        extractor: what each of them has.
        number: by which the task ``"features"`` knows it.
        helpers: that do the task.
    """

    def __init__(self, extractor: FeatureExtractor, number: int, helpers: Helpers) -> None:
        self._extractor, self._number, self._helpers = extractor, number, helpers

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
        if len(x) < self._helpers.size:
            return self._extractor.features(x)
        parts = [(self._number, part) for part in x.cpu().tensor_split(self._helpers.size)]
        return torch.cat(self._helpers.spread("features", parts))


def _sendable(error: BaseException) -> BaseException:
    """The error, or one with its text where it cannot be rebuilt elsewhere."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
