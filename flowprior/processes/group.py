"""The group of processes that work together, each on a part of one whole, and how they exchange values."""

from __future__ import annotations

import atexit
import hashlib
import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from flowprior.errors import OptionError, pip_install

PATIENCE = timedelta(days=7)
"""The longest time that processes wait for each other: the first one may fit a prior for hours."""
GRACE = 0.2
"""Seconds: a collective's thread lets go of its tensors in microseconds, once the machine lets it run."""
S = TypeVar("S")
T = TypeVar("T")


class Group:
    """The processes of a group of ``torch.distributed``, each of which calls the same methods in turn.

    Args:
        group: made by torch, of gloo or of another backend; None for this process alone.

    Attributes:
        rank: the number of this process, from 0; the first one writes all files and shows all messages.
        size: the number of processes.
        device: the device where they exchange tensors.
    """

    def __init__(self, group: distributed.ProcessGroup | None = None) -> None:
        self.group, self.rank, self.size, self.device = group, 0, 1, torch.device("cpu")
        if group is not None:
            self.rank, self.size = distributed.get_rank(group), distributed.get_world_size(group)
            if "gloo" not in str(distributed.get_backend(group)):  # which exchanges through the host
                self.device = torch.accelerator.current_accelerator() or self.device

    @property
    def is_main(self) -> bool:
        """Return True for the process that writes files and shows messages."""
        return self.rank == 0

    def prepared(self, model: nn.Module) -> nn.Module:
        """Return what is called in place of ``model`` in a step, so that gradients are averaged."""
        return model if self.group is None else DistributedDataParallel(model)

    def gathering(self, model: nn.Module, now: bool) -> AbstractContextManager[object]:
        """Return the context of a backward pass through a prepared ``model``; ``now`` averages gradients."""
        return nullcontext() if now or not isinstance(model, DistributedDataParallel) else model.no_sync()

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a tensor over all processes, on each of them."""
        if self.group is None:
            return value
        total = value.detach().clone()
        distributed.all_reduce(total, group=self.group)
        return total / self.size

    def wait(self) -> None:
        """Wait for all processes."""
        self.of_each(None)

    def of_each(self, value: T) -> list[T]:
        """Return what each process has, in their order; values are pickled on the way."""
        values: list[T] = [value] * self.size
        if self.group is not None:
            distributed.all_gather_object(values, value, group=self.group)
        return values

    def of_first(self, value: T) -> T:
        """Return what the first process has; it is pickled on the way."""
        values = [value]
        if self.group is not None:
            first = distributed.get_global_rank(self.group, 0)
            distributed.broadcast_object_list(values, src=first, group=self.group)
        return values[0]

    def in_parts(self, work: Callable[[S], T], items: Sequence[S]) -> list[T]:
        """Return what ``work`` gives for each of ``items``, which all processes have, working on some each.

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

    def generator(
        self, given: torch.Generator | None, device: torch.device, owner: str
    ) -> torch.Generator | None:
        """Return a generator with the same numbers in all processes: the given one, or one of the first's.

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
            self.wait()
        try:
            yield
        finally:
            if not self.rank:
                self.wait()


def process_count() -> int:
    """Return the number of processes that ``torchrun`` or ``accelerate launch`` has started, with this one.

    Raises:
        OptionError: ``WORLD_SIZE`` is no number.
    """
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdecimal() or int(text) < 1:
        raise OptionError(f"WORLD_SIZE={text!r} is no number of processes; unset it, or use torchrun")
    return int(text)


def launched_group(device: str, owner: str = "train") -> Group:
    """Return the processes that were launched together, by ``torchrun`` or ``accelerate launch``.

    Of accelerate's settings only those of the processes count; precision and the like are those of the run's
    configuration.

    Args:
        device: the value of ``training.device``; ``"cpu"`` exchanges through gloo.
        owner: begins the messages.

    Raises:
        OptionError: several processes without the extra ``scale``, or all on one GPU.
    """
    if process_count() == 1:
        return Group()
    if ":" in device:
        raise OptionError(
            f"{owner}: device={device} is one device for several processes; choose auto, cuda or cpu"
        )
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise OptionError(
            f"{owner}: several processes need accelerate, which is not installed; {pip_install('scale')}"
        ) from error
    started = PartialState(cpu=device == "cpu" or not torch.cuda.is_available(), timeout=PATIENCE)
    atexit.register(leave, started.destroy_process_group)
    return Group(distributed.group.WORLD)


def leave(destroy: Callable[[], None]) -> None:
    """Leave the group of processes; the last thing that a process does.

    A thread of gloo lets go of the tensors of a collective a moment after their caller has them, and takes
    Python's lock for it. If the interpreter is ending by then, the thread is ended inside of a destructor and
    the process aborts ("terminate called without an active exception"), though all its work is done. torch
    has no call that waits for these threads.

    Args:
        destroy: ends the communication.
    """
    destroy()
    time.sleep(GRACE)  # without Python's lock, so that a thread that waits for it gets it


def compact(tensor: Tensor) -> Tensor:
    """Return a copy on the CPU with its own numbers alone, for a view is pickled with all that it is of."""
    return tensor.detach().cpu().clone()


def sendable(error: BaseException) -> BaseException:
    """Return the error, or one with its text where it cannot be rebuilt in another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
