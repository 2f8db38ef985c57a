"""A prior of many labels in many dimensions: fit, memory and draws; far below full size by default.

With ``FLOWPRIOR_FULL_SIZE=1`` it is ImageNet-64's size, 1,000 labels of 12,288 numbers and 1.28 M rows, and
takes a quarter of an hour.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch

from flowprior import Prior


@dataclass(frozen=True)
class Size:
    """Labels, numbers a row, rank, rows, and bounds on seconds, peak and state in MiB and MB."""

    labels: int
    dim: int
    rank: int
    rows: int
    seconds: float
    peak: int
    state: int


FULL = Size(1000, 12_288, 256, 1_280_000, 900, 2048, 450)
SMALL = Size(100, 3072, 64, 25_600, 60, 1024, 30)
MANY = Size(100_000, 64, 8, 100_000, 60, 2048, 450)
SIZE = FULL if os.environ.get("FLOWPRIOR_FULL_SIZE") else SMALL

STREAM = """
import json, os, sys, tempfile, time
import numpy, torch
from flowprior import Prior

labels, dim, rank, rows, folder = [int(word) for word in sys.argv[1:5]] + [sys.argv[5]]
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

data = Pictures()
start, busy = time.perf_counter(), time.process_time()
prior = Prior.create("latent-gmm", rank=rank, basis="shared")
prior.fit(data, generator=torch.Generator().manual_seed(0))
found = {"seconds": time.perf_counter() - start, "processor": time.process_time() - busy}
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
found["peak"] = (int(status["VmHWM"].split()[0]) - int(status["RssFile"].split()[0])) // 1024
found["state"] = sum(t.numel() * t.element_size() for t in prior.state_dict().values()) / 1e6
found["law"] = prior.latents.name
prior.save(folder)
print(json.dumps(found))
"""


def fit_apart(size: Size, folder: str) -> dict[str, float]:
    """What a process of its own needs for the fit, whose prior it leaves in ``folder``."""
    words = [str(word) for word in (size.labels, size.dim, size.rank, size.rows)]
    command = [sys.executable, "-W", "ignore", "-c", STREAM, *words, folder]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    """Where the fitted prior lies."""
    return str(tmp_path_factory.mktemp("prior"))


@pytest.mark.parametrize("size", [SIZE, MANY], ids=["wide", "many labels"])
def test_fit(benchmark, folder, size):
    benchmark.group = f"latent-gmm:basis=shared, {size.labels} labels, {size.dim} numbers, {size.rows} rows"
    found = benchmark.pedantic(fit_apart, args=(size, folder))
    benchmark.extra_info.update(way="flowprior", notes=found)
    assert found["seconds"] <= size.seconds
    assert found["peak"] <= size.peak
    assert found["state"] <= size.state
    if size is SIZE:
        draws_of(Prior.load(folder), size, benchmark.extra_info)


def draws_of(prior: Prior, size: Size, notes: dict[str, object]) -> None:
    """A batch of 256 takes at most five times what filling it with normal numbers does."""
    from benchmarks.operators.groups import take_turns

    labels = torch.randint(size.labels, (256,), generator=torch.Generator().manual_seed(0))
    calls = {"sample": lambda: prior.sample(labels), "randn": lambda: torch.randn(256, size.dim)}
    seconds = take_turns(calls)
    notes["sample"] = {name: value * 1e3 for name, value in seconds.items()}
    assert seconds["sample"] <= 5 * seconds["randn"]
