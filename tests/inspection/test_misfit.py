"""Labels whose law a prior does not have are named, and others are left in peace."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior.data import TensorData
from flowprior.inspection import inspect_priors
from flowprior.inspection.examples import POOLED, Examples
from flowprior.inspection.misfit import LEVEL, Misfit, fit_witness, misfit, misfit_warning
from flowprior.priors import Prior
from flowprior.report.terminal import inspection_tables

RING, GAUSSIAN, FEW = 0, 1, 2


def laws(seed: int, each: int = 300, scale: float = 1.0) -> TensorData:
    """A ring, a correlated Gaussian, and ten rows of a label that is too small to be tested."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * torch.pi * torch.rand(each, generator=generator)
    ring = torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(each, 2, generator=generator)
    mix = torch.tensor([[0.4, 0.3], [0.0, 0.2]])
    gaussian = torch.randn(each, 2, generator=generator) @ mix + 2
    few = torch.randn(10, 2, generator=generator)
    labels = torch.tensor([RING] * each + [GAUSSIAN] * each + [FEW] * 10)
    names = ["ring", "gaussian", "few"]
    return TensorData(scale * torch.cat([ring, gaussian, few]), labels, name="laws", class_names=names)


def found(spec: str, data: TensorData, seed: int = 0) -> dict[int, Misfit]:
    examples = Examples.of(data, len(data), seed)
    generator = torch.Generator().manual_seed(1000 + seed)  # others than the data's
    prior = Prior.registry.resolve(spec).fit((examples.x, examples.cond), generator=generator)
    return misfit(prior, examples, generator)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_a_ring_is_no_gaussian_at_any_scale(scale):
    of = found("gmm:covariance=full,reg_covar=0.0", laws(0, scale=scale))
    assert set(of) == {RING, GAUSSIAN}, "a label of two held-out rows is not tested"
    assert of[RING].p_value < 1e-6
    assert of[RING].auc > 0.8
    assert of[GAUSSIAN].p_value > LEVEL
    assert of[GAUSSIAN].auc == pytest.approx(0.5, abs=0.1)


def test_laws_that_fit_are_seldom_flagged():
    alarms = sum(
        found("gmm:covariance=full", laws(seed, 150), seed)[GAUSSIAN].p_value < LEVEL for seed in range(20)
    )
    assert alarms <= 3, "0.025 of 20 are expected, more than 3 in one of 2,000 cases"


def test_noise_that_the_flow_takes_away_is_no_misfit():
    """The floor, 0.04, is of the size of the Gaussian's smallest variance."""
    assert found("latent-gmm", laws(1, 300))[GAUSSIAN].p_value > LEVEL


def test_embeddings_and_data_without_a_condition_are_one_label():
    x = laws(0).x[:300]
    for cond in (None, x[:, :1].clone()):
        data = TensorData(x, cond, name="ring")
        spec = "gmm:covariance=full" if cond is None else "learned-mean:sigma=scalar,epochs=5"
        of = found(spec, data)
        assert set(of) == {POOLED}
        assert of[POOLED].p_value < LEVEL


def test_p_values_are_times_the_number_of_labels(monkeypatch):
    """However many of the others are misfits: a label that fits is not compared with a larger level."""
    values = iter([0.001, 0.03])
    monkeypatch.setattr("flowprior.inspection.misfit._test", lambda *_: Misfit(0.5, next(values)))
    of = found("gmm:covariance=full", laws(0, 150))
    assert [label.p_value for label in of.values()] == pytest.approx([0.002, 0.06])


def test_a_witness_is_larger_where_there_are_more_data(generator):
    x, y = torch.randn(200, 3, generator=generator), torch.randn(200, 3, generator=generator)
    witness = fit_witness(x.double() + torch.tensor([1.0, 0, 0]), y.double())
    new: Tensor = torch.tensor([[2.0, 0, 0], [0.5, 0, 0], [-1.0, 0, 0]]).double()
    assert witness(new).diff().max() < 0


def test_the_warning_names_the_worst_first():
    of = {0: Misfit(0.6, 0.01), 1: Misfit(0.5, 0.9), 2: Misfit(0.8, 0.001)}
    warning = misfit_warning("gmm", of, ["a", "b", "c"])
    assert warning is not None
    assert "labels c, a: " in warning
    assert "0.80" in warning
    assert misfit_warning("gmm", {1: of[1]}, None) is None


def test_inspect_warns_and_shows_it(capsys):
    report = inspect_priors(laws(0), ["gmm:covariance=full", "gaussian"], suggestion=False)
    assert any(
        "=full does not have the distribution of label ring: " in warning for warning in report.warnings
    )
    fitted, standard = report.priors
    assert standard.misfit == {}, "N(0, I) is fitted to nothing"
    assert report.as_dict()["priors"][0]["misfit"][RING]["auc"] == fitted.misfit[RING].auc
    table = inspection_tables(report)[0]
    column = next(column for column in table.columns if str(column.header) == "test AUC")
    assert next(str(cell) for cell in column.cells).endswith("*")
