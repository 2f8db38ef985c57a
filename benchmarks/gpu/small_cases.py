"""Every operator once at small sizes, in every dtype and on rows that are not aligned.

    python -m benchmarks.gpu.small_cases --device cuda

For compute-sanitizer, under which everything takes many times as long.
"""

from __future__ import annotations

import argparse
import sys

import torch

from flowprior.ops.backend import native_devices
from tests.native.emulated import DTYPES, Layout
from tests.native.parity import Case, calls

SHAPES = ((1, 1, 1), (3, 7, 5), (41, 401, 5), (70, 32, 64))
LAYOUTS = (Layout(), Layout(offset=1, gap=3))


def call_all(device: str) -> dict[str, int]:
    """Call the operators on ``device``, and wait; how many calls of each there were."""
    counts: dict[str, int] = {}
    for shape in SHAPES:
        for dtype in DTYPES:
            for layout in LAYOUTS:
                case = Case(*shape, dtype=dtype, layout=layout, device=device)
                for name, arguments in calls(case).items():
                    getattr(torch.ops.flowprior, name)(*arguments)
                    counts[name] = counts.get(name, 0) + 1
    if device == "cuda":
        torch.cuda.synchronize()
    return counts


def main() -> int:
    """The command line; 1 where the operators are not built for the device."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.small_cases")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    device = parser.parse_args().device
    if device not in native_devices():
        sys.stderr.write(f"no native operators for {device}\n")
        return 1
    sys.stderr.write(f"{sum(call_all(device).values())} calls\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
