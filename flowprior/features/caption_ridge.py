"""Ridge regression from features of pictures to embeddings of their captions, for an image-text score.

It learns from real pairs, in closed form; how strongly it is regularised is chosen on captions that are held
out. Values are comparable only under one set of features and one set of pairs. It is not CLIP.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from flowprior.errors import InputError

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Of the regularisation, for features of mean squared length 1."""
FOLDS = 5


@dataclass(frozen=True)
class CaptionRidge:
    """What the regression learned: y = (f − m) W predicts the embedding of a caption, measured from the mean.

    Without the mean, which all predictions share, cosines tell captions apart much better.

    Attributes:
        feature_mean: m, float64 ``[F]``.
        weight: W, float64 ``[F, E]``.
        embedding_mean: of embeddings of length 1, float64 ``[E]``.
        strength: the one of :data:`STRENGTHS` that was chosen, float64 ``[]``.
    """

    feature_mean: Tensor
    weight: Tensor
    embedding_mean: Tensor
    strength: Tensor

    def predict(self, features: Tensor) -> Tensor:
        """Predicted embeddings, measured from the mean, float64 ``[N, E]``, of features ``[N, F]``."""
        return (features.double() - self.feature_mean) @ self.weight

    def centre(self, embeddings: Tensor) -> Tensor:
        """Embeddings ``[N, E]`` of any length, at length 1 and measured from the mean, float64."""
        return torch.nn.functional.normalize(embeddings.double(), dim=1) - self.embedding_mean

    def tensors(self) -> dict[str, Tensor]:
        """All that :class:`CaptionRidge` is made of, by name."""
        return asdict(self)


def fit_caption_ridge(features: Tensor, embeddings: Tensor, captions: Tensor) -> CaptionRidge:
    """Fit the regression to N real pairs; the strength has the best mean cosine on captions left out in turn.

    Args:
        features: of the pictures, ``[N, F]``.
        embeddings: of their captions, ``[N, E]``.
        captions: a number for each different caption, int64 ``[N]``; one is never in two folds.

    Raises:
        InputError: pairs that do not fit, numbers that are not finite, or a single caption.
    """
    _check_pairs(features, embeddings, captions)
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, GroupKFold

    x, y = features.double(), torch.nn.functional.normalize(embeddings.double(), dim=1)
    feature_mean, embedding_mean = x.mean(0), y.mean(0)
    x, y = x - feature_mean, y - embedding_mean
    length = x.square().sum(1).mean().sqrt().clamp_min(1e-12)
    folds = GroupKFold(min(FOLDS, len(captions.unique())))
    ridge, choices = Ridge(fit_intercept=False), {"alpha": list(STRENGTHS)}
    search = GridSearchCV(ridge, choices, scoring=_mean_cosine, cv=folds)
    search.fit((x / length).numpy(), y.numpy(), groups=captions.numpy())
    weight = torch.from_numpy(search.best_estimator_.coef_).T.contiguous() / length
    strength = torch.tensor(search.best_params_["alpha"], dtype=torch.float64)
    return CaptionRidge(feature_mean, weight, embedding_mean, strength)


def _mean_cosine(ridge: Any, x: Any, y: Any) -> float:
    """Of predictions and embeddings of held-out captions."""
    predicted, true = torch.from_numpy(ridge.predict(x)), torch.from_numpy(y)
    return torch.nn.functional.cosine_similarity(predicted, true, dim=1).mean().item()


def _check_pairs(features: Tensor, embeddings: Tensor, captions: Tensor) -> None:
    if len(features) != len(embeddings) or embeddings.dim() != 2 or features.dim() != 2:
        shapes = f"{list(features.shape)} and {list(embeddings.shape)}"
        raise InputError(f"image-text score: expected features [N, F] and embeddings [N, E], got {shapes}")
    if not (torch.isfinite(features).all() and torch.isfinite(embeddings).all()):
        raise InputError("image-text score: expected finite features and embeddings, got NaN or infinity")
    if len(captions.unique()) < 2:
        raise InputError("image-text score: expected at least two different captions to learn from, got one")
