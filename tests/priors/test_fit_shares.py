"""Several processes, each with a share of the data, fit the prior that one fits to all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.priors.fit_shares import SPECS, fitted


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_they_fit_what_one_process_fits(processes: int, tmp_path: Path) -> None:
    """To rounding in float64; and to the bit what each other has."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [sys.executable, *launch, "-m", "tests.priors.fit_shares", str(tmp_path / "found"), "float64"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    first, *others = (torch.load(tmp_path / f"found-{rank}", weights_only=True) for rank in range(processes))
    for spec in SPECS:
        alone = fitted(spec, 0, 1, torch.float64)
        assert alone.keys() == first[spec].keys()
        for name, value in alone.items():
            said = f"{spec}: {name}"
            torch.testing.assert_close(first[spec][name], value, rtol=1e-10, atol=1e-10, msg=said)
            for other in others:
                assert torch.equal(other[spec][name], first[spec][name]), said
