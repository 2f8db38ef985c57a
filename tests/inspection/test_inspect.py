"""The whole inspection: ranked, written, drawn, warned of, and repeatable."""

from __future__ import annotations

import json

import pytest
import torch

from flowprior.errors import OptionError
from flowprior.inspection import inspect_priors
from flowprior.streams.user_tensors import tensor_data


@pytest.fixture(scope="module")
def three_modes():
    """Labelled points of the plane: three classes of two clusters each."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(1500) % 3
    side = (torch.randint(2, (1500,), generator=generator) * 2 - 1)[:, None]
    x = (
        0.2 * torch.randn(1500, 2, generator=generator)
        + side * torch.tensor([1.0, 0.5])
        + 3 * labels[:, None]
    )
    return tensor_data(x, labels)


@pytest.fixture(scope="module")
def found(three_modes, tmp_path_factory):
    out = tmp_path_factory.mktemp("inspected")
    priors = ["gaussian", "gmm", "gmm:components=2"]
    return inspect_priors(three_modes, priors, ["condot", "ot", "posterior"], out=out), out


def test_pairings_are_ranked_and_the_impossible_left_out(found):
    inspection, _ = found
    scores = [pairing.score for pairing in inspection.pairings]
    assert scores == sorted(scores)
    assert len(scores) == 7, "gaussian and gmm have no latents for posterior"
    assert sum("posterior is left out" in warning for warning in inspection.warnings) == 2
    at_random = [pairing.prior for pairing in inspection.pairings if pairing.coupling == "condot"]
    assert at_random == ["gmm:components=2", "gmm", "gaussian"]
    assert {pairing.coupling for pairing in inspection.pairings[:4]} == {"ot", "posterior"}


def test_what_is_written(found):
    inspection, out = found
    written = json.loads((out / "inspection.json").read_text())
    assert written["examples"] == {"fit": 1200, "held_out": 300, "all": 1500}
    for fitted in inspection.priors:
        assert fitted.picture is not None
        assert (out / fitted.picture.rsplit("/", 1)[1]).stat().st_size > 1000
        assert fitted.state_bytes > 0


def test_it_is_repeatable_and_pictures_change_no_value(three_modes, tmp_path):
    first, second = (inspect_priors(three_modes, ["gmm"], examples=300, out=out) for out in (None, tmp_path))
    assert first.pairings == second.pairings
    assert first.priors[0].log_density == second.priors[0].log_density


def test_few_examples_are_warned_of():
    labels = torch.tensor([0] * 60 + [1] * 5)
    inspection = inspect_priors((torch.randn(65, 2), labels), ["gmm:shrinkage=1"])
    (warning,) = inspection.warnings
    assert warning.startswith("1 of 2 labels have fewer than 20 examples (label 1: 5)")


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        ([], "expected a prior, a coupling and steps >= 1"),
        (["gaussian"], r"gaussian \+ posterior is left out"),
    ],
)
def test_nothing_to_inspect_is_refused(three_modes, priors, message):
    with pytest.raises(OptionError, match=message):
        inspect_priors(three_modes, priors, ["posterior"])


def test_prompt_notebook_and_reason_show_the_best_pairing_first(found):
    inspection, _ = found
    best, after, *_ = inspection.pairings
    shown = repr(inspection)
    assert shown.startswith(f"Inspection of {inspection.data}: {len(inspection.priors)} priors")
    assert f"best: {best.prior} + {best.coupling}, score" in shown
    assert inspection._repr_html_().count("<tr>") == len(inspection.pairings) + 1
    lowest, other = inspection.reason.split("; ")
    assert lowest.startswith(f"{best.prior} + {best.coupling} has the score {best.score:.4g}, the lowest")
    assert other == f"next comes {after.prior} + {after.coupling} with {after.score:.4g}"
