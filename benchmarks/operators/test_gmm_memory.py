"""A fit from a stream: its peak memory must not know how many pictures come."""

from __future__ import annotations

import subprocess
import sys

import pytest

STREAM = """
import sys, torch
from flowprior import Prior

class Pictures:
    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        for _ in range(int(sys.argv[1])):
            yield torch.randn(1000, 784, generator=generator), torch.arange(1000) % 10

Prior.create("gmm", components=2, max_iter=2).fit(Pictures())
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) // 1024)  # unlike ru_maxrss, not inherited from the parent
"""


def peak_mib(thousands: int) -> int:
    """Highest resident memory of a process that fits to that many thousand streamed pictures."""
    command = [sys.executable, "-c", STREAM, str(thousands)]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


@pytest.fixture(scope="module")
def peaks() -> dict[int, int]:
    """Peaks of the sizes that ran before."""
    return {}


@pytest.mark.parametrize("thousands", [15, 60])
def test_memory_does_not_grow_with_the_data(benchmark, peaks, thousands):
    """60,000 pictures of 784 numbers are 179 MiB."""
    benchmark.group = "gmm.fit in a process of its own, a stream of pictures of 784 numbers"
    peaks[thousands] = benchmark.pedantic(peak_mib, args=(thousands,))
    benchmark.extra_info.update(way=f"flowprior, {thousands},000", notes={"peak, MiB": peaks[thousands]})
    assert peaks[thousands] <= min(peaks.values()) + 32
