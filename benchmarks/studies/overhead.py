"""What fitting and keeping a prior costs, against the number of conditions and of dimensions.

    python -m benchmarks.studies.overhead

Every measurement is made in a process of its own, on one thread; the peak is what the fit holds above what
the process held before it.
"""

from __future__ import annotations

import math
import multiprocessing
import resource
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, groupby
from multiprocessing.connection import Connection
from operator import itemgetter
from pathlib import Path
from timeit import Timer
from typing import Any

import torch
import typer
from torch import Tensor

from benchmarks.studies import RESULTS, Row, own_run, rows_of
from flowprior.priors import Prior
from flowprior.study.table import write_results

CONDITIONS = (10, 100, 1_000, 10_000, 100_000)
DIMENSIONS = (784, 3_072, 12_288)
BY_CONDITIONS = {"dims": 64, "examples": 100_000}
BY_DIMENSIONS = {"conditions": 10, "examples": 2_000}
LIMIT = 60  # seconds of processor time
LIMIT_OF_SHIPPED = 300
BATCH = 1000
MOST_MEMORY = 8 << 30
"""Bytes that a measurement may hold; one that asks for more fails, and says so."""
PRIORS = {
    "gaussian": "gaussian:moments=diagonal",
    "gmm": "gmm:shrinkage=1.0",
    "gmm, K = 4": "gmm:components=4,shrinkage=1.0,max_iter=5",
    "gmm, low rank 8": "gmm:covariance=lowrank,rank=8,shrinkage=1.0",
    "gmm, full": "gmm:covariance=full,shrinkage=1.0",
    "latent-gmm": "latent-gmm:rank=8,components=4,max_iter=5",
    "learned-mean": "learned-mean:epochs=1",
    "vae": "vae:steps=50",
    "flow": "flow:rank=16,steps=50",
}
"""Steps and iterations of the trained ones are few: their growth is asked for, not their quality."""
SHIPPED = {
    "default": "latent-gmm",
    "default, shared bases": "latent-gmm:basis=shared",
    "learned-mean, low rank": "learned-mean:covariance=lowrank",
}
"""As they are fitted when nobody says otherwise, and with more time for it."""


def plan() -> list[dict[str, Any]]:
    """Every cell: along the conditions, then along the dimensions."""
    along = [{"axis": "conditions", "conditions": c, **BY_CONDITIONS} for c in CONDITIONS]
    along += [{"axis": "dims", "dims": d, **BY_DIMENSIONS} for d in DIMENSIONS]
    priors = PRIORS | SHIPPED
    return [{"prior": name, "spec": spec, **place} for name, spec in priors.items() for place in along]


def run_axis(cells: Iterable[dict[str, Any]], limit: int = LIMIT) -> Iterator[list[Row]]:
    """Measure the cells of one prior along one axis; after one that took too long none is tried."""
    late = ""
    for cell in cells:
        size = [cell[name] for name in ("spec", "conditions", "dims", "examples")]
        found: dict[str, Any] = {"failed": late} if late else measure_apart(*size, limit=limit)
        failed = found.pop("failed", "")
        if "not done" in failed:
            late = "not tried: the next smaller was not done in time"
        name = f"overhead/{cell['prior']}-{cell['conditions']}x{cell['dims']}"
        rows = rows_of(found or {"failed": math.nan}, flow=cell["prior"])
        yield own_run(name, {"label": cell["prior"], **cell}, rows, failed=failed)
        typer.echo(f"{name}: {failed or found}")


def main() -> None:
    """Run every cell, and write the table of the study."""
    rows = []
    for (prior, _), cells in groupby(plan(), key=itemgetter("prior", "axis")):
        limit = LIMIT_OF_SHIPPED if prior in SHIPPED else LIMIT
        rows += chain.from_iterable(run_axis(cells, limit))
    write_results(RESULTS / "overhead.csv.gz", rows)


@dataclass
class Stream:
    """Rows of noisy waves, one wave for each condition, made when they are asked for.

    Args:
        conditions: number of labels, each as often as the others.
        dims: numbers in a row.
        rows: how many.
        seconds: that the making took so far, which are not the prior's.
    """

    conditions: int
    dims: int
    rows: int
    seconds: float = 0.0

    def __len__(self) -> int:
        return -(-self.rows // BATCH)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return map(self.batch, range(len(self)))

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Batch ``number``, the same whenever it is asked for."""
        start, generator = time.process_time(), torch.Generator().manual_seed(number)
        labels = (torch.arange(BATCH) + number * BATCH) % self.conditions
        wave = torch.sin(torch.linspace(0, 6, self.dims) + labels[:, None].float())
        x = wave + 0.5 * torch.randn(BATCH, self.dims, generator=generator)
        self.seconds += time.process_time() - start
        return x, labels


def measure_apart(spec: str, conditions: int, dims: int, rows: int, limit: int) -> dict[str, Any]:
    """``measure`` in a child of at most 8 GiB and ``limit`` s of processor time; ``failed`` says why not."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(sender, limit, spec, conditions, dims, rows), daemon=True)
    child.start()
    sender.close()
    with suppress(EOFError):
        return receiver.recv()
    child.join()
    late = child.exitcode in (-signal.SIGXCPU, -signal.SIGKILL)
    return {"failed": f"not done after {limit} s" if late else f"ended with {child.exitcode}"}


def _answer(sender: Connection, limit: int, *size: Any) -> None:
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))  # a child starts at zero
    try:
        sender.send(measure(*size))
    except Exception as error:  # whatever it is, the table says it
        memory = isinstance(error, MemoryError) or "allocate memory" in str(error)
        reason = f"needs more than {MOST_MEMORY >> 30} GiB" if memory else str(error).splitlines()[0]
        sender.send({"failed": reason})


def measure(spec: str, conditions: int, dims: int, rows: int) -> dict[str, Any]:
    """Seconds of processor time and bytes of fitting, keeping, sampling and scoring.

    A small fit goes before, so that neither imports nor the pages of the code count.
    """
    small = Stream(10, 16, BATCH)
    warm = Prior.registry.resolve(spec).fit(small, generator=torch.Generator().manual_seed(0))
    warm.sample(small.batch(0)[1])
    stream, prior = Stream(conditions, dims, rows), Prior.registry.resolve(spec)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is held now
    before = _status("VmRSS")
    start = time.process_time()
    prior.fit(stream, generator=torch.Generator().manual_seed(0))
    fit = time.process_time() - start - stream.seconds
    peak = _status("VmHWM") - before
    (x, labels), generator = stream.batch(0), torch.Generator().manual_seed(0)
    return {
        "fit_seconds": fit,
        "fit_peak_bytes": max(peak, 0),
        "state_bytes": sum(tensor.nbytes for tensor in prior.state_dict().values()),
        "sample_seconds": _seconds(lambda: prior.sample(labels, generator=generator)),
        "log_prob_seconds": _seconds(lambda: prior.log_prob(x, labels)),
    }


def _seconds(function: Callable[[], Tensor]) -> float:
    """Seconds of one call: the mean of as many as fill 0.2 s, for the clock may tick at 4 ms."""
    with torch.no_grad():
        calls, seconds = Timer(function, timer=time.process_time).autorange()
    return seconds / calls


def _status(key: str) -> int:
    """Bytes that the process holds (``VmRSS``), or held at most (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":"))


if __name__ == "__main__":
    main()
