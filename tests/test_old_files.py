"""Files that fab1b364 wrote load, carry its source samples to its samples, and have its densities.

Source samples themselves are drawn with other random numbers since then (``old_files/README.md``).
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from flowprior import Coupling, Flow, Prior
from flowprior.errors import CheckpointError
from flowprior.training import load_config, read_metrics

FOLDER = Path(__file__).with_name("old_files")
FLOWS, PRIORS = (sorted(path.name for path in (FOLDER / kind).iterdir()) for kind in ("flows", "priors"))
WARNINGS = dict.fromkeys(
    ["embeddings-kernel-mean", "embeddings-learned-mean"], "an older version saved it, with 40"
)
"""What the user is told when a flow is loaded."""


def expected(name: str) -> Tensor:
    return load_file(FOLDER / "expected.safetensors")[name]


def condition_of(name: str) -> Tensor:
    """Return what the samples of a flow were asked for."""
    if name.startswith("embeddings"):
        return expected("embeddings")
    return torch.tensor([1, 2, 1, 2]) if name == "changed-labels" else torch.arange(6) % 3


def assert_draws(flow: Flow, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that a flow draws samples, and from the source samples of then the samples of then."""
    own = flow.sample(condition_of(name), nfe=3, generator=torch.Generator().manual_seed(0))
    source = expected(f"source {name}")
    monkeypatch.setattr(flow.coupling, "source", lambda *_, **__: source)
    samples = flow.sample(condition_of(name), nfe=3)
    torch.testing.assert_close(samples, expected(name), rtol=1e-5, atol=1e-5)
    assert own.shape == samples.shape
    assert own.isfinite().all()


def warning_of(name: str) -> AbstractContextManager[object]:
    return pytest.warns(RuntimeWarning, match=WARNINGS[name]) if name in WARNINGS else nullcontext()


@pytest.mark.parametrize("name", [name for name in FLOWS if name not in ("reflow", "shifted")])
def test_a_saved_flow_loads_and_draws_the_same_samples(name, monkeypatch):
    with warning_of(name):
        flow = Flow.load(FOLDER / "flows" / name)
    assert_draws(flow, name, monkeypatch)


def test_there_are_flows_of_both_formats():
    texts = [(FOLDER / "flows" / name / "flow.json").read_text(encoding="utf-8") for name in FLOWS]
    assert {json.loads(text)["format"] for text in texts} == {3, 4}


def test_a_flow_of_reflow_loads_and_draws_the_same_samples(monkeypatch):
    flow = Flow.load(FOLDER / "flows" / "reflow")
    assert repr(flow.coupling) == repr(Coupling.create("given", origin="posterior"))
    assert_draws(flow, "reflow", monkeypatch)


def test_a_flow_of_shifted_is_refused_in_one_line_that_names_the_last_commit_that_reads_it():
    with pytest.raises(CheckpointError, match=r"'shifted', which commit ec83d767 .* is the last to read"):
        Flow.load(FOLDER / "flows" / "shifted")


@pytest.mark.parametrize("name", PRIORS)
def test_a_saved_prior_loads_and_is_of_the_same_density(name):
    """Its own draws are as likely as those of then: the mean log-density is within 5 standard errors."""
    prior, cond = Prior.load(FOLDER / "priors" / name), torch.arange(6) % 3
    density = prior.log_prob(expected(f"prior {name}"), cond)
    torch.testing.assert_close(density, expected(f"log-density {name}"), rtol=1e-4, atol=1e-4)
    drawn = prior.sample(cond, generator=torch.Generator().manual_seed(0))
    difference = prior.log_prob(drawn, cond) - density
    assert abs(float(difference.mean())) < 5 * float(difference.std()) / 6**0.5


def test_a_run_folder_loads_and_draws_the_same_samples(monkeypatch):
    assert_draws(Flow.load(FOLDER / "run"), "run", monkeypatch)
    assert load_config(FOLDER / "run" / "config.toml").training.steps == 4
    assert [line["step"] for line in read_metrics(FOLDER / "run" / "metrics.jsonl")][-1] == 4


def test_the_files_stay_small():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 400_000
