"""Loops of other projects learn as they are, and from a designed source after five changed lines."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from flowprior import Coupling, Flow, Prior
from flowprior import Path as Interpolation
from flowprior.data import load_data
from tests.markdown_blocks import REPOSITORY

SCRIPTS = sorted((REPOSITORY / "examples" / "foreign").glob("*.py"))


def patched(script: str, patch: str) -> str:
    """Return the script with the hunks of a unified diff applied."""
    for hunk in re.split(r"^@@.*\n", patch, flags=re.MULTILINE)[1:]:
        lines = hunk.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] != sign) for sign in "+-")
        assert script.count(old) == 1
        script = script.replace(old, new)
    return script


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", SCRIPTS, ids=lambda page: page.stem)
def test_five_changed_lines_give_a_loop_a_source_that_is_no_worse(page: Path, tmp_path: Path) -> None:
    """The scores, of four evaluations and held-out rows, are distances: lower is better."""
    plain, patch = (page.with_suffix(end).read_text(encoding="utf-8") for end in (".py", ".patch"))
    removed, added = (len(re.findall(rf"^\{sign}(?!\{sign})", patch, re.MULTILINE)) for sign in "-+")
    assert removed <= added <= 5
    for package in re.findall(r"^(?:from|import) (\w+)", plain, re.MULTILINE):
        pytest.importorskip(package)
    runs = []
    for script in (plain, patched(plain, patch)):
        (tmp_path / page.name).write_text(script, encoding="utf-8")
        runs.append(runpy.run_path(str(tmp_path / page.name)))
    theirs, ours = (run["losses"] for run in runs)
    fifth = len(theirs) // 5
    assert sum(ours[-fifth:]) < sum(theirs[-fifth:]) < sum(theirs[:fifth])
    assert 0 < runs[1]["score"] < runs[0]["score"]


def test_a_network_whose_time_runs_the_other_way_is_sampled_by_a_flow() -> None:
    """Its sigma is 1 at the source, and it predicts x0 − x1."""
    digits = load_data("digits")
    prior, labels = Prior.create("gmm", reg_covar=0.01).fit(digits.batches()), torch.arange(10)

    def network(x: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        return x.sin() * (sigma + label)[:, None, None, None]

    flow = Flow(
        lambda x, t, label: -network(x, 1 - t, label),
        prior,
        Coupling.create("condot"),
        Interpolation.create("condot"),
        digits.condition,
    )
    x0 = sample = prior.sample(labels)
    for sigma in torch.tensor([1.0, 0.75, 0.5, 0.25]):
        sample = sample - 0.25 * network(sample, sigma.expand(10), labels)
    torch.testing.assert_close(flow.sample(labels, x0=x0, nfe=4, sampler="euler"), sample)
