"""What is timed: a mixture for each of ten conditions and a batch, pictures, and a fit to a long stream."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowprior.data import load_data
from flowprior.errors import DataNotFoundError

CONDITIONS = 10
PIXELS = 784
TRAIN, TEST = 60_000, 10_000
PAIRS = [(256, 3072), (512, 784)]
MIXTURES = [(batch, dim, components) for batch, dim in PAIRS for components in (1, 8)]


@dataclass
class Problem:
    """Tables of a mixture ``[conditions, components(, dim)]``, labels and data ``[batch, dim]``."""

    batch: int
    dim: int
    components: int = 1

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        table = (CONDITIONS, self.components, self.dim)
        self.logits = torch.randn(table[:2], generator=generator)
        self.mean = torch.randn(table, generator=generator)
        self.scale = torch.rand(table, generator=generator) + 0.5
        self.cond = torch.randint(CONDITIONS, (self.batch,), generator=generator)
        self.x0, self.x1, self.v = torch.randn(3, self.batch, self.dim, generator=generator)
        self.t = torch.rand(self.batch, generator=generator)
        self.tables = (self.logits, self.mean, self.scale)
        self.event_bytes = self.x1.nbytes
        self.table_bytes = self.mean.nbytes + self.scale.nbytes

    def name(self, operator: str, *, mixture: bool = True) -> str:
        """The operator at this size."""
        size = f"{operator}, {self.batch} x {self.dim}"
        return f"{size}, K = {self.components}" if mixture else size


class Pictures(NamedTuple):
    """Rows ``[60000, 784]`` with labels, and ``[10000, 784]`` held-out ones with theirs."""

    name: str
    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor


@cache
def pictures() -> Pictures:
    """Fashion-MNIST where it is on this machine, otherwise pictures drawn from a mixture of low rank."""
    try:
        splits = [load_data("fashion-mnist", split) for split in ("train", "test")]
    except DataNotFoundError:
        return drawn()
    (x, y), (x_test, y_test) = (data.batch(torch.arange(len(data))) for data in splits)
    assert isinstance(y, Tensor)
    assert isinstance(y_test, Tensor)
    return Pictures("Fashion-MNIST", x.flatten(1), y, x_test.flatten(1), y_test)


def drawn(train: int = TRAIN, test: int = TEST) -> Pictures:
    """Pictures in [-1, 1]: a mean for each class, sixteen directions around it, and noise.

    One cluster a class, so that the optima that two fits may end in are about equally good.
    """
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(CONDITIONS, PIXELS, generator=generator) * 0.4
    basis = torch.randn(CONDITIONS, 16, PIXELS, generator=generator) * 0.025

    def draw(n: int) -> tuple[Tensor, Tensor]:
        y = torch.arange(n) % CONDITIONS
        x = mean[y] + 0.05 * torch.randn(n, PIXELS, generator=generator)
        for label in range(CONDITIONS):
            rows = y == label
            x[rows] += torch.randn(int(rows.sum()), 16, generator=generator) @ basis[label]
        return x.clamp_(-1, 1), y

    return Pictures("drawn pictures", *draw(train), *draw(test))


STREAM = """
import json, sys, tempfile, time
import numpy, torch
from flowprior import Prior

spec, folder = sys.argv[1], sys.argv[6]
labels, dim, rank, rows = map(int, sys.argv[2:6])
torch.set_num_threads(2)
HELD = min(rows, 8192)

class Pictures:
    '''Rows of a memory-mapped buffer that is reused; each label has a mean and scales of its own.'''

    def __init__(self):
        file = tempfile.NamedTemporaryFile()
        self.buffer = numpy.memmap(file, dtype=numpy.float32, mode="w+", shape=(HELD, dim))
        generator = torch.Generator().manual_seed(0)
        loading = torch.randn(rank, dim, generator=generator) / 8
        for start in range(0, HELD, 512):
            scale = 1 + torch.rand(512, rank, generator=generator)
            rows = torch.randn(512, rank, generator=generator).mul_(scale) @ loading
            rows += 0.3 * torch.randn(512, dim, generator=generator)
            self.buffer[start : start + 512] = rows[: HELD - start]

    def __iter__(self):
        for start in range(0, rows, 2048):
            place = torch.arange(start, min(start + 2048, rows))
            x = torch.from_numpy(self.buffer[start % HELD : start % HELD + len(place)])
            yield x, place * 7919 % labels

data, prior = Pictures(), Prior.registry.resolve(spec)
start, busy = time.perf_counter(), time.process_time()
prior.fit(data, generator=torch.Generator().manual_seed(0))
found = {"seconds": time.perf_counter() - start, "processor": time.process_time() - busy}
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
found["peak"] = (int(status["VmHWM"].split()[0]) - int(status["RssFile"].split()[0])) // 1024
found["state"] = sum(t.numel() * t.element_size() for t in prior.state_dict().values()) / 1e6
found["law"] = getattr(prior, "latents", prior).name
prior.save(folder)
print(json.dumps(found))
"""
"""VmHWM is, unlike ru_maxrss, not inherited from the parent."""


def fit_apart(spec: str, labels: int, dim: int, rank: int, rows: int, folder: str) -> dict[str, Any]:
    """Seconds, MiB at the most and MB of state that a process of its own needs for a fit to ``rows`` rows.

    It leaves the prior in ``folder``.
    """
    words = [spec, *map(str, (labels, dim, rank, rows)), folder]
    command = [sys.executable, "-W", "ignore", "-c", STREAM, *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)
