"""Group: processes that work together, each on a part of one whole, and what they tell each other."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, distributed

from flowprior.errors import OptionError

S = TypeVar("S")
T = TypeVar("T")


class Group:
    """One process, which has all of the work; the base class of several.

    Attributes:
        rank: of this process, from 0.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    def largest(self, number: int) -> int:
        """The largest that a process has of a number."""
        return number

    def of_each(self, value: T) -> list[T]:
        """What each process has, in their order; values are pickled on the way."""
        return [value]

    def in_parts(self, work: Callable[[S], T], items: Sequence[S]) -> list[T]:
        """What ``work`` gives for each of ``items``, which all processes have, each working on some of them.

        Results are pickled on the way. Where one process raises, all of them do.
        """
        if self.size == 1:
            return [work(item) for item in items]
        own: list[T] = []
        error: Exception | None = None
        try:
            own = [work(item) for item in items[self.rank :: self.size]]
        except Exception as raised:
            error = raised
        others = self.of_each(None if error is None else sendable(error))
        if failed := [other for other in (error, *others) if other is not None]:
            raise failed[0]
        results = self.of_each(own)
        return [results[k % self.size][k // self.size] for k in range(len(items))]

    def of_first(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of the first process, on the CPU where they are another's."""
        return dict(tensors)

    def generator(
        self, given: torch.Generator | None, device: torch.device, owner: str
    ) -> torch.Generator | None:
        """A generator that gives the same in all processes: the given one, or one of a seed of the first.

        Raises:
            OptionError: the processes gave generators in different states.
        """
        if self.size == 1:
            return given
        if given is None:
            seed = int(torch.randint(1 << 62, ()))
            return torch.Generator(device).manual_seed(self.of_each(seed)[0])
        states = self.of_each(hashlib.sha256(given.get_state().numpy().tobytes()).hexdigest())
        if len(set(states)) > 1:
            raise OptionError(
                f"{owner}: the processes of the group gave generators in different states; give each of them "
                "one of the same seed, or none"
            )
        return given

    @contextmanager
    def first_goes_ahead(self) -> Iterator[None]:
        """A context that the other processes enter once the first one has left it."""
        if self.rank:
            self.of_each(None)
        try:
            yield
        finally:
            if not self.rank:
                self.of_each(None)


class Processes(Group):
    """The processes of a group of ``torch.distributed``, each of which calls the same methods in turn.

    Args:
        group: made by torch, of gloo or of another backend.
    """

    def __init__(self, group: distributed.ProcessGroup) -> None:
        self._group = group
        self.rank, self.size = distributed.get_rank(group), distributed.get_world_size(group)
        through_host = "gloo" in str(distributed.get_backend(group))
        self._device = torch.device(
            "cpu" if through_host else torch.accelerator.current_accelerator() or "cpu"
        )

    def largest(self, number: int) -> int:
        found = torch.tensor(number, device=self._device)
        distributed.all_reduce(found, distributed.ReduceOp.MAX, group=self._group)
        return int(found)

    def of_each(self, value: T) -> list[T]:
        values: list[T | None] = [None] * self.size
        distributed.all_gather_object(values, value, group=self._group)
        return values  # type: ignore[return-value]  # each is there now

    def of_first(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One tensor after the other, so that no process holds more than one of them twice."""
        own = {name: (value.shape, value.dtype) for name, value in tensors.items()}
        described = [own]
        source = distributed.get_global_rank(self._group, 0)
        distributed.broadcast_object_list(described, src=source, group=self._group)
        found = dict(tensors)
        for name, (shape, dtype) in described[0].items():
            is_own = self.rank == 0
            sent = tensors[name].to(self._device).contiguous() if is_own else None
            sent = torch.empty(shape, dtype=dtype, device=self._device) if sent is None else sent
            distributed.broadcast(sent, source, group=self._group)
            if not is_own:
                found[name] = sent.cpu()
        return {name: found[name] for name in described[0]}


def group_of(group: distributed.ProcessGroup | None) -> Group:
    """The processes of a group of ``torch.distributed``; this one alone for None."""
    return Group() if group is None else Processes(group)


def compact(tensor: Tensor) -> Tensor:
    """A tensor on the CPU with its own numbers alone, for a view is pickled with all that it is of."""
    held = tensor.detach().cpu()
    own = held.numel() * held.element_size()
    return held.clone() if held.untyped_storage().nbytes() > own else held


def sendable(error: BaseException) -> BaseException:
    """The error, or one with its text where it cannot be rebuilt in another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
