"""What compares images with captions: CLIP, or a ridge regression from features to embeddings of captions.

The regression learns from real pairs, in closed form; how strongly it is regularised is chosen on captions
that are held out. Values are comparable only under one set of features and one set of pairs. It is not CLIP.
"""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from flowprior.data.base import Data
from flowprior.data.splits import labels_of
from flowprior.errors import InputError
from flowprior.features.base import FeatureExtractor
from flowprior.features.pretrained import ClipFeatures
from flowprior.metrics.setup import Reference
from flowprior.storage.digests import tensor_bytes, tensors_digest

MOST_PAIRS = 5000
"""Real pairs that the regression learns from."""
PROMPT = "a photo of a {}"
"""What stands for the caption of a picture that has the name of a class alone (Radford et al. 2021)."""
AT_ONCE = 4096
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Of the regularisation, for features of mean squared length 1."""
FOLDS = 5


class CaptionScorer(abc.ABC):
    """Embeds pictures and captions into one space.

    Args:
        extractor: features of pictures.
        training: the training split.

    Attributes:
        fit_name: name of the value of pictures and their own captions.
    """

    fit_name: str

    def __init__(self, extractor: FeatureExtractor, training: Reference) -> None:
        self.extractor, self.training = extractor, training
        self._distinct: dict[int, tuple[Data, DistinctCaptions | None]] = {}

    def captions_of(self, data: Data) -> DistinctCaptions | None:
        """The captions that events of ``data`` are compared with; None where they cannot be."""
        key = id(data)
        if key not in self._distinct:
            found = self._captions(data)
            self._distinct[key] = data, None if found is None else DistinctCaptions(found)
        return self._distinct[key][1]

    @abc.abstractmethod
    def how(self) -> str:
        """By what captions are compared, for descriptions."""

    @abc.abstractmethod
    def fit_description(self) -> str:
        """What the value of :meth:`fit` is."""

    @abc.abstractmethod
    def _captions(self, data: Data) -> list[str] | list[bytes] | None:
        """The caption of each event: a text, or the bytes of an embedding."""

    @abc.abstractmethod
    def images(self, features: Tensor) -> Tensor:
        """Embeddings ``[N, E]`` of pictures with features ``[N, F]``."""

    @abc.abstractmethod
    def embed(self, data: Data, indices: Tensor) -> Tensor:
        """Embeddings ``[B, E]`` of the captions of the events ``indices`` of ``data``."""

    @abc.abstractmethod
    def fit(self, cosines: Tensor) -> float:
        """The value of cosines ``[N]`` of pictures and their own captions."""


class RidgeScorer(CaptionScorer):
    """Predicts the embedding of a picture's caption from its features.

    It learns from the data set's own pairs for this (:meth:`flowprior.data.Data.scorer_split`), which no flow
    sees; where there are none, from at most 5,000 pairs of the training split, which the flow was trained on.
    It never learns from generated pictures.
    """

    def __init__(self, extractor: FeatureExtractor, training: Reference) -> None:
        super().__init__(extractor, training)
        own = training.data.scorer_split()
        self.pairs = training if own is None else Reference(own, "scorer")
        self.fit_name = f"caption-cosine-{extractor.features_name}"

    @cached_property
    def indices(self) -> Tensor:
        """Which of the pairs are learned from, int64 ``[N]``."""
        return self.pairs.indices(MOST_PAIRS)

    @property
    def learns_apart(self) -> bool:
        """Whether it learns from pairs that no flow sees."""
        return self.pairs is not self.training

    def how(self) -> str:
        """Ridge regression, and what it learned from."""
        count = len(self._learned_captions)
        source = "that no flow sees" if self.learns_apart else "of the training split"
        return (
            f"ridge regression from {self.extractor.features_name} features to caption embeddings, learned "
            f"from {len(self.indices)} pictures of {count} captions {source} (sha256 {self._digest[:8]})"
        )

    def fit_description(self) -> str:
        return f"cosine of predicted and true embedding of the own caption, from their mean, by {self.how()}"

    @cached_property
    def _learned_captions(self) -> DistinctCaptions:
        return DistinctCaptions(embedded_captions(self.pairs.data, self.indices))

    @cached_property
    def _digest(self) -> str:
        return tensors_digest({"embeddings": _embeddings(self.pairs.data, self.indices)})

    def _captions(self, data: Data) -> list[str] | list[bytes] | None:
        few = torch.arange(1)
        ours, theirs = self.pairs.data.caption_embeddings(few), data.caption_embeddings(few)
        identities = {self.pairs.data.text_encoder_identity, data.text_encoder_identity} - {None}
        if ours is None or theirs is None or ours.shape != theirs.shape or len(identities) > 1:
            return None
        return embedded_captions(data, torch.arange(len(data)))

    def images(self, features: Tensor) -> Tensor:
        return self._ridge.predict(features)

    def embed(self, data: Data, indices: Tensor) -> Tensor:
        return self._ridge.centre(_embeddings(data, indices))

    def fit(self, cosines: Tensor) -> float:
        return cosines.mean().item()

    @cached_property
    def _ridge(self) -> CaptionRidge:
        def compute() -> dict[str, Tensor]:
            features = self.pairs.features(self.extractor, MOST_PAIRS)
            embeddings = _embeddings(self.pairs.data, self.indices)
            return vars(fit_caption_ridge(features, embeddings, self._learned_captions.numbers))

        key = {"extractor": self.extractor.identity(), "embeddings": self._digest, "most": MOST_PAIRS}
        return CaptionRidge(**self.pairs.kept("caption-ridge", compute, **key))


class ClipScorer(CaptionScorer):
    """CLIP's own two towers; captions are the stored texts, whatever the flow was conditioned on."""

    fit_name = "clip-score"

    def __init__(self, extractor: ClipFeatures, training: Reference) -> None:
        super().__init__(extractor, training)
        self.clip = extractor
        self._known: dict[str, Tensor] = {}

    def how(self) -> str:
        return "CLIP's two towers"

    def fit_description(self) -> str:
        return "100 max(cos, 0) of CLIP's embeddings of picture and own caption"

    def _captions(self, data: Data) -> list[str] | None:
        texts = texts_of(data)
        if texts is not None:
            self.clip.text_tower  # noqa: B018  A folder without one is refused before anything is generated.
        return texts

    def images(self, features: Tensor) -> Tensor:
        return features

    def embed(self, data: Data, indices: Tensor) -> Tensor:
        captions = self.captions_of(data)
        assert captions is not None
        texts = [str(captions.captions[index]) for index in indices.tolist()]
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known |= zip(new, self.clip.texts(new), strict=True) if new else ()
        return torch.stack([self._known[text] for text in texts])

    def fit(self, cosines: Tensor) -> float:
        return 100 * cosines.clamp_min(0).mean().item()


def scorer_of(extractor: FeatureExtractor, training: Reference) -> CaptionScorer:
    """CLIP itself for its own features, a ridge regression for all others."""
    if isinstance(extractor, ClipFeatures):
        return ClipScorer(extractor, training)
    return RidgeScorer(extractor, training)


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


class DistinctCaptions:
    """The different captions of N events, in the order of their sha256, which no order of events changes.

    Args:
        captions: of each event, a text or the bytes of an embedding.

    Attributes:
        captions: as given.
        numbers: of each event's caption in that order, int64 ``[N]``.
        first: the first event of each different caption in that order, int64 ``[U]``.
        digest: sha256 over all of them.
    """

    def __init__(self, captions: Sequence[str] | Sequence[bytes]) -> None:
        self.captions = captions
        places: dict[bytes, int] = {}
        digests = [_digest(caption) for caption in captions]
        for place, digest in enumerate(digests):
            places.setdefault(digest, place)
        order = {digest: number for number, digest in enumerate(sorted(places))}
        self.numbers = torch.tensor([order[digest] for digest in digests])
        self.first = torch.tensor([places[digest] for digest in order])
        self.digest = hashlib.sha256(b"".join(digests)).hexdigest()

    def __len__(self) -> int:
        return len(self.first)


def _embeddings(data: Data, indices: Tensor) -> Tensor:
    found = data.caption_embeddings(indices)
    assert found is not None
    return found


def texts_of(data: Data) -> list[str] | None:
    """The caption of each event, or a prompt with the name of its class; None where there is neither."""
    if data.captions is not None:
        return list(data.captions)
    labels, names = labels_of(data), data.class_names
    if labels is None or names is None:
        return None
    return [PROMPT.format(names[label]) for label in labels.tolist()]


def embedded_captions(data: Data, indices: Tensor) -> list[str] | list[bytes]:
    """What tells captions with embeddings apart: the texts, else the embeddings themselves."""
    if data.captions is not None:
        return [data.captions[int(index)] for index in indices.tolist()]
    parts = (data.caption_embeddings(some) for some in indices.split(AT_ONCE))
    return [tensor_bytes(row).tobytes() for part in parts if part is not None for row in part]


def _digest(caption: str | bytes) -> bytes:
    whole = caption if isinstance(caption, bytes) else caption.encode("utf-8", "surrogateescape")
    return hashlib.sha256(whole).digest()
