"""The classifier two-sample test (C2ST; Lopez-Paz & Oquab 2017, arXiv 1610.06545), by the recipe of sbibm.

The accuracy of a network at telling apart two sets that it was not trained on: 0.5 if they cannot be
distinguished, 1 if they always can. As in sbibm (Lueckmann et al. 2021, arXiv 2101.04653), the first set
standardises both, and each of five folds is classified by a network of two hidden layers that was trained on
the others. Rows that are in both sets lower the accuracy, also below 0.5.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from flowprior.features.base import FeatureExtractor
from flowprior.metrics.base import FeatureMetric, Metric, as_clouds
from flowprior.metrics.setup import Drawn, Setup
from flowprior.registry.options import check_counts

MOST_EPOCHS = 10_000
"""The largest number of passes over the data of a training, which ends once the loss stays."""


def c2st(x: Tensor, y: Tensor, *, hidden: int | None = None, folds: int = 5, seed: int = 1) -> float:
    """Return the mean accuracy of classifying held-out rows of x ``[N, F]`` and y ``[M, F]``.

    Args:
        x: the first set, which both are standardised by.
        y: the second set; only of as many rows is an accuracy of 0.5 chance.
        hidden: the size of both hidden layers; None takes 10 F, as sbibm does.
        folds: the number of folds of the cross-validation.
        seed: of the folds, the initial weights and the batches.

    Raises:
        InputError: sets that do not fit, have fewer rows than folds, or are not finite.
        OptionError: impossible counts.
    """
    from sklearn.model_selection import KFold, cross_val_score
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler

    ours, theirs = (cloud.numpy() for cloud in as_clouds("c2st", x, y, least=folds))
    size = 10 * ours.shape[1] if hidden is None else hidden
    check_counts("c2st", 2, folds=folds, hidden=size)
    network = MLPClassifier((size, size), max_iter=MOST_EPOCHS, random_state=seed)  # ReLU, Adam
    scaled = StandardScaler().fit(ours).transform(np.concatenate([ours, theirs]))
    scaled = np.asarray(scaled * np.sqrt(1 - 1 / len(ours)), np.float32)  # by the unbiased variance
    is_second = np.arange(len(scaled)) >= len(ours)
    parts = KFold(folds, shuffle=True, random_state=seed)
    return float(cross_val_score(network, scaled, is_second, cv=parts, scoring="accuracy").mean())


@Metric.register("c2st")
class ClassifierTest(FeatureMetric):
    """Accuracy of telling features of samples from test and from training data; 0.5 is best, 1 is worst.

    Args:
        hidden: the size of both hidden layers of the network.
    """

    names = ("c2st", "c2st-training")

    def __init__(self, hidden: int = 64) -> None:
        check_counts("metric 'c2st'", 2, hidden=hidden)
        self.hidden = hidden

    def describe(self, setup: Setup, name: str) -> tuple[str, str]:
        split = setup.reference if name == "c2st" else setup.training
        return "classifier two-sample test (0.5 is best)", split.describe(setup.samples)

    def values_of(self, setup: Setup, drawn: Drawn, extractor: FeatureExtractor) -> dict[str, float]:
        found = super().values_of(setup, drawn, extractor)
        if drawn is not setup.training_samples:  # those are in the training data
            real = Drawn(setup.training.features(extractor, setup.samples))
            found["c2st-training"] = self.compare(real, Drawn(drawn.features(extractor)))["c2st"]
        return found

    def compare(self, real: Drawn, generated: Drawn, seed: int = 0) -> dict[str, float]:
        return {"c2st": c2st(real.x[: len(generated.x)], generated.x[: len(real.x)], hidden=self.hidden)}
