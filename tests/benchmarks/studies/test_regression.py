"""The Gaussian regression, against scikit-learn's ridge regression and its cross-validation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.preprocessing import StandardScaler

from benchmarks.studies import everything, regression
from benchmarks.studies.regression import FOLDS, STRENGTHS, fit_regression
from flowprior.data import TensorData


def linear(rows: int, signal: float, generator: torch.Generator) -> TensorData:
    """Data samples that are linear in four numbers of five, of other scales, and noise of deviation 1."""
    cond = torch.randn(rows, 5, generator=generator) * torch.tensor([1.0, 3.0, 0.2, 1.0, 0.0]) + 2
    slope = signal * torch.randn(5, 3, generator=generator)
    return TensorData(cond @ slope + torch.randn(rows, 3, generator=generator), cond, name="linear")


def arrays(data: TensorData) -> tuple[np.ndarray, np.ndarray]:
    """Standardised conditions and data samples."""
    x, cond = everything(data)
    return StandardScaler().fit_transform(cond.double().numpy()), x.double().numpy()


def fitted(data: TensorData, *, diagonal: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The regression's predictions of the data, and the covariance of its errors."""
    x, cond = everything(data)
    found = fit_regression(cond, x, data.groups, diagonal=diagonal)
    predicted = regression.with_one(cond) @ found.weights
    return predicted.numpy(), (found.factor @ found.factor.T).numpy()


def test_mean_and_covariance_are_those_of_ridge_regression_with_whole_groups_left_out(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regression, "STRENGTHS", (50.0,))
    data = linear(140, 1.0, generator)
    data.groups = torch.arange(140) // 10 + 100
    seen, x = arrays(data)
    predicted, covariance = fitted(data)
    np.testing.assert_allclose(predicted, Ridge(50.0).fit(seen, x).predict(seen), atol=1e-8)
    folds = PredefinedSplit(((data.groups - 100) % FOLDS).numpy())
    errors = x - cross_val_predict(Ridge(50.0), seen, x, cv=folds)
    np.testing.assert_allclose(covariance, errors.T @ errors / 140, atol=1e-8)
    variances = np.diag(np.square(errors).mean(0))
    np.testing.assert_allclose(fitted(data, diagonal=True)[1], variances, atol=1e-8)


@pytest.mark.parametrize("signal", [0.0, 0.1, 100.0])
def test_the_strength_is_that_of_the_least_error_on_rows_that_are_left_out(
    signal: float, generator: torch.Generator
) -> None:
    data = linear(700, signal, generator)
    seen, x = arrays(data)
    folds = PredefinedSplit(np.arange(700) % FOLDS)
    found = {s: np.square(x - cross_val_predict(Ridge(s), seen, x, cv=folds)).sum() for s in STRENGTHS}
    best = Ridge(min(found, key=found.__getitem__)).fit(seen, x)
    np.testing.assert_allclose(fitted(data)[0], best.predict(seen), atol=1e-6)
