"""The metric ``image-text``: how well images fit their captions, by CLIP or by a ridge regression.

The regression, from features to embeddings of captions, learns from real pairs, in closed form; how strongly
it is regularised is chosen on captions that are held out. Values are comparable only under one set of
features and one set of pairs. It is not CLIP.
"""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from flowprior.data.base import Data
from flowprior.data.splits import labels_of
from flowprior.errors import InputError
from flowprior.features.base import FeatureExtractor, short_identity
from flowprior.features.pretrained import ClipFeatures
from flowprior.metrics.base import Metric, MetricInfo, SampleMetric
from flowprior.metrics.setup import Drawn, Reference, Setup
from flowprior.storage.digests import tensor_bytes, tensors_digest

AMONG = 300
"""The number of captions among which an image's own is searched: those with the least sha256."""
NEAREST = {1: "the nearest", 5: "among the 5 nearest"}
"""The ranks up to which a caption counts as found, with their words in descriptions."""
ROUNDING = 1e-12
"""The largest rounding difference between two sums of the same cosine."""
MOST_PAIRS = 5000
"""The largest number of real pairs from which the regression learns."""
PROMPT = "a photo of a {}"
"""The caption of an image with only the name of its class (Radford et al. 2021)."""
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""The regularisation strengths to choose from, for features of mean squared length 1."""
FOLDS = 5
"""The number of folds of the cross-validation over captions."""


@Metric.register("image-text")
class ImageText(SampleMetric):
    """Fit of images to their captions: CLIP score or cosine, and how often the caption is found among 300.

    Images are compared with the stored captions of the real ones whose conditions they were generated for,
    whatever these are: embeddings, parts, or labels that say less than the caption. CLIP features compare by
    CLIP itself (Hessel et al. 2021, without their factor), and data without captions by the names of their
    classes. Other features compare by a ridge regression of caption embeddings, which is not CLIP. The
    real-data score is that of the real images themselves.
    """

    real_data = "held-out"
    names = ("clip-score", "caption-cosine", *(f"caption-top{count}" for count in NEAREST))

    def __init__(self) -> None:
        self._scorers: dict[tuple[int, int], CaptionScorer] = {}

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        if setup.balanced:
            return {}
        samples, reference = setup.samples, setup.reference.describe(setup.samples)
        return {
            name: MetricInfo(what, samples, reference, "higher", features=short_identity(extractor))
            for extractor in _extractors(setup)
            for name, what in self._descriptions(self._scorer(extractor, setup), setup.reference.data).items()
        }

    def lacks(self, setup: Setup) -> str:
        if setup.balanced:
            return "the conditions of the reference (conditions='reference')"
        if not _extractors(setup):
            return "features of images: pass some (--features)"
        return "captions, as texts for CLIP, and by one text encoder as embeddings for other features"

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        found: dict[str, float] = {}
        for extractor in _extractors(setup):
            scorer, indices = self._scorer(extractor, setup), setup.indices
            captions = scorer.captions_of(setup.reference.data)
            if captions is None:
                continue
            images, own = scorer.images(drawn.features(extractor)), scorer.embed(captions, indices)
            others = scorer.embed(captions, captions.first[:AMONG])
            ranks = caption_ranks(images, own, captions.numbers[indices], others)
            found[scorer.fit_name] = scorer.fit(cosine_similarity(images.double(), own.double(), dim=1))
            found |= {
                _name(count, scorer): (ranks < count).double().mean().item()
                for count in NEAREST
                if count < len(others)
            }
        return found

    def _scorer(self, extractor: FeatureExtractor, setup: Setup) -> CaptionScorer:
        key = id(extractor), id(setup.training)  # a scorer holds both, so that no other gets their numbers
        if key not in self._scorers:
            self._scorers[key] = (
                ClipScorer(extractor, setup.training)
                if isinstance(extractor, ClipFeatures)
                else RidgeScorer(extractor, setup.training)
            )
        return self._scorers[key]

    def _descriptions(self, scorer: CaptionScorer, data: Data) -> dict[str, str]:
        """Return what each value under one set of features is."""
        captions = scorer.captions_of(data)
        if captions is None:
            return {}
        among, how, own = min(AMONG, len(captions)), scorer.how(), f"captions sha256 {captions.digest[:8]}"
        what = "share of images whose own caption is {} of {} captions, by {}; {}"
        return {scorer.fit_name: f"{scorer.fit_what.format(how)}; {own}"} | {
            _name(count, scorer): what.format(place, among, how, own)
            for count, place in NEAREST.items()
            if count < among
        }


def caption_ranks(images: Tensor, own: Tensor, numbers: Tensor, others: Tensor) -> Tensor:
    """Return how many other captions are at least as near to each image as its own, by the cosine.

    The numbers are int64 ``[N]``. Every image has its own caption among K: where it is none of ``others``, it
    takes the place of the last. Captions that are equally near count as nearer, so that a scorer to which all
    are alike finds nothing.

    Args:
        images: embeddings of images ``[N, E]``.
        own: the embeddings of their captions ``[N, E]``.
        numbers: the numbers of their captions, int64 ``[N]``; below K the row in ``others``.
        others: embeddings of K captions ``[K, E]``, all different.
    """
    images, own, others = (normalize(tensor.double(), dim=1) for tensor in (images, own, others))
    nearer = images @ others.T >= (images * own).sum(1, keepdim=True) - ROUNDING
    places = numbers.clamp_max(len(others) - 1)
    return nearer.scatter(1, places[:, None], False).sum(1)


def _extractors(setup: Setup) -> list[FeatureExtractor]:
    """Return the feature extractors except the data set's classifier, which learned labels only."""
    return [extractor for extractor in setup.extractors if extractor is not setup.classifier]


def _name(count: int, scorer: CaptionScorer) -> str:
    return f"caption-top{count}-{scorer.extractor.features_name}"


class CaptionScorer(abc.ABC):
    """The base class of embeddings of images and captions into one space.

    Args:
        extractor: features of images.
        training: the training split.

    Attributes:
        fit_name: the name of the value of images and their own captions.
        fit_what: the description of this value; braces stand for :meth:`how`.
    """

    fit_name: str
    fit_what: str

    def __init__(self, extractor: FeatureExtractor, training: Reference) -> None:
        self.extractor, self.training = extractor, training
        self._known: dict[Data, DistinctCaptions | None] = {}

    def captions_of(self, data: Data) -> DistinctCaptions | None:
        """Return the captions with which images of ``data`` are compared; None if they cannot be."""
        if data not in self._known:
            found = self._captions(data)
            self._known[data] = None if found is None else DistinctCaptions(data, found)
        return self._known[data]

    @abc.abstractmethod
    def how(self) -> str:
        """Return the name of the embeddings that are compared, for descriptions."""

    @abc.abstractmethod
    def _captions(self, data: Data) -> list[str] | list[bytes] | None:
        """Return the caption of each image: a text, or the bytes of an embedding."""

    def images(self, features: Tensor) -> Tensor:
        """Return the embeddings ``[N, E]`` of images with features ``[N, F]``: these by default."""
        return features

    @abc.abstractmethod
    def embed(self, captions: DistinctCaptions, indices: Tensor) -> Tensor:
        """Return the embeddings ``[B, E]`` of the captions of the images ``indices``."""

    def fit(self, cosines: Tensor) -> float:
        """Return the value of cosines ``[N]`` of images and their own captions: the mean by default."""
        return cosines.mean().item()


class RidgeScorer(CaptionScorer):
    """A scorer that predicts the embedding of an image's caption from its features by ridge regression.

    It learns from the data set's own pairs for this (:meth:`flowprior.data.Data.scorer_split`), which no flow
    sees; where there are none, from at most 5,000 pairs of the training split, which the flow was trained on.
    It never learns from generated images.
    """

    fit_what = "cosine of predicted and true embedding of the own caption, from their mean, by {}"

    def __init__(self, extractor: FeatureExtractor, training: Reference) -> None:
        super().__init__(extractor, training)
        own = training.data.scorer_split()
        self.pairs = training if own is None else Reference(own, "scorer")
        self.fit_name = f"caption-cosine-{extractor.features_name}"

    def how(self) -> str:
        """Return a description of the ridge regression and its training pairs."""
        source = "of the training split" if self.pairs is self.training else "that no flow sees"
        return (
            f"ridge regression from {self.extractor.features_name} features to caption embeddings, learned "
            f"from {len(self._learned.numbers)} images of {len(self._learned)} captions {source} "
            f"(sha256 {self._digest[:8]})"
        )

    @cached_property
    def _embeddings(self) -> Tensor:
        """The embeddings ``[N, E]`` of the captions of the training pairs."""
        return embeddings_of(self.pairs.data, self.pairs.indices(MOST_PAIRS))

    @cached_property
    def _learned(self) -> DistinctCaptions:
        captions = embedded_captions(self.pairs.data, self.pairs.indices(MOST_PAIRS))
        return DistinctCaptions(self.pairs.data, captions)

    @cached_property
    def _digest(self) -> str:
        return tensors_digest({"embeddings": self._embeddings})

    def _captions(self, data: Data) -> list[str] | list[bytes] | None:
        few = torch.arange(1)
        ours, theirs = self.pairs.data.caption_embeddings(few), data.caption_embeddings(few)
        identities = {self.pairs.data.text_encoder_identity, data.text_encoder_identity} - {None}
        if ours is None or theirs is None or ours.shape != theirs.shape or len(identities) > 1:
            return None
        return embedded_captions(data, torch.arange(len(data)))

    def images(self, features: Tensor) -> Tensor:
        return self._ridge.predict(features)

    def embed(self, captions: DistinctCaptions, indices: Tensor) -> Tensor:
        return self._ridge.centre(embeddings_of(captions.data, indices))

    @cached_property
    def _ridge(self) -> CaptionRidge:
        def compute() -> dict[str, Tensor]:
            features = self.pairs.features(self.extractor, MOST_PAIRS)
            return vars(fit_caption_ridge(features, self._embeddings, self._learned.numbers))

        key = {"extractor": self.extractor.identity(), "embeddings": self._digest, "most": MOST_PAIRS}
        return CaptionRidge(**self.pairs.kept("caption-ridge", compute, **key))


class ClipScorer(CaptionScorer):
    """A scorer by CLIP's two towers; captions are the stored texts, whatever the flow's condition is."""

    fit_name = "clip-score"
    fit_what = "100 max(cos, 0) of CLIP's embeddings of image and own caption"

    def __init__(self, extractor: ClipFeatures, training: Reference) -> None:
        super().__init__(extractor, training)
        self.clip = extractor
        self._embedded: dict[str, Tensor] = {}

    def how(self) -> str:
        return "CLIP's two towers"

    def _captions(self, data: Data) -> list[str] | None:
        texts = texts_of(data)
        if texts is not None:
            self.clip.text_tower  # noqa: B018  A folder without one is refused before anything is generated.
        return texts

    def embed(self, captions: DistinctCaptions, indices: Tensor) -> Tensor:
        texts = [str(captions.captions[index]) for index in indices.tolist()]
        new = [text for text in dict.fromkeys(texts) if text not in self._embedded]
        self._embedded |= zip(new, self.clip.texts(new), strict=True) if new else ()
        return torch.stack([self._embedded[text] for text in texts])

    def fit(self, cosines: Tensor) -> float:
        return 100 * cosines.clamp_min(0).mean().item()


@dataclass(frozen=True)
class CaptionRidge:
    """A fitted ridge regression: y = (f − m) W predicts the embedding of a caption less the mean embedding.

    Without the mean, which all predictions share, cosines tell captions apart much better.

    Attributes:
        feature_mean: m, float64 ``[F]``.
        weight: W, float64 ``[F, E]``.
        embedding_mean: the mean of embeddings of length 1, float64 ``[E]``.
        strength: the one of :data:`STRENGTHS` that was chosen, float64 ``[]``.
    """

    feature_mean: Tensor
    weight: Tensor
    embedding_mean: Tensor
    strength: Tensor

    def predict(self, features: Tensor) -> Tensor:
        """Return predicted embeddings, measured from the mean, float64 ``[N, E]``, of features ``[N, F]``."""
        return (features.double() - self.feature_mean) @ self.weight

    def centre(self, embeddings: Tensor) -> Tensor:
        """Return embeddings ``[N, E]`` of any length at length 1, and measured from the mean, float64."""
        return normalize(embeddings.double(), dim=1) - self.embedding_mean


def fit_caption_ridge(features: Tensor, embeddings: Tensor, captions: Tensor) -> CaptionRidge:
    """Fit the regression to N real pairs; the strength has the best mean cosine on captions left out in turn.

    Args:
        features: the features of the images, ``[N, F]``.
        embeddings: the embeddings of their captions, ``[N, E]``.
        captions: a number for each different caption, int64 ``[N]``; one is never in two folds.

    Raises:
        InputError: a single caption.
    """
    if len(captions.unique()) < 2:
        raise InputError("image-text score: expected at least two different captions to learn from, got one")
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, GroupKFold

    x, y = features.double(), normalize(embeddings.double(), dim=1)
    feature_mean, embedding_mean = x.mean(0), y.mean(0)
    x, y = x - feature_mean, y - embedding_mean
    length = x.square().sum(1).mean().sqrt().clamp_min(1e-12)
    folds = GroupKFold(min(FOLDS, len(captions.unique())))
    search = GridSearchCV(
        Ridge(fit_intercept=False), {"alpha": list(STRENGTHS)}, scoring=_mean_cosine, cv=folds
    )
    search.fit((x / length).numpy(), y.numpy(), groups=captions.numpy())
    weight = torch.from_numpy(search.best_estimator_.coef_).T.contiguous() / length
    strength = torch.tensor(search.best_params_["alpha"], dtype=torch.float64)
    return CaptionRidge(feature_mean, weight, embedding_mean, strength)


def _mean_cosine(ridge: Any, x: Any, y: Any) -> float:
    """Return the mean cosine of predictions and embeddings of held-out captions."""
    predicted, true = torch.from_numpy(ridge.predict(x)), torch.from_numpy(y)
    return cosine_similarity(predicted, true, dim=1).mean().item()


class DistinctCaptions:
    """The different captions of N data samples, in the order of their sha256.

    Args:
        data: the data set with these events.
        captions: the caption of each data sample, a text or the bytes of an embedding.

    Attributes:
        data: as given.
        captions: as given.
        numbers: the number of each data sample's caption in that order, int64 ``[N]``.
        first: the first event of each different caption in that order, int64 ``[U]``.
        digest: sha256 over all of them.
    """

    def __init__(self, data: Data, captions: Sequence[str] | Sequence[bytes]) -> None:
        self.data, self.captions = data, captions
        whole = (
            caption if isinstance(caption, bytes) else caption.encode("utf-8", "surrogateescape")
            for caption in captions
        )
        digests = [hashlib.sha256(caption).digest() for caption in whole]
        _, first, numbers = np.unique(np.array(digests), return_index=True, return_inverse=True)
        self.first, self.numbers = torch.from_numpy(first), torch.from_numpy(numbers)
        self.digest = hashlib.sha256(b"".join(digests)).hexdigest()

    def __len__(self) -> int:
        return len(self.first)


def embeddings_of(data: Data, indices: Tensor) -> Tensor:
    """Return the embeddings ``[B, E]`` of captions, of data that have some."""
    found = data.caption_embeddings(indices)
    assert found is not None
    return found


def texts_of(data: Data) -> list[str] | None:
    """Return each image's caption, or a prompt with the name of its class; None without either."""
    if data.captions is not None:
        return list(data.captions)
    labels, names = labels_of(data), data.class_names
    if labels is None or names is None:
        return None
    return [PROMPT.format(names[label]) for label in labels.tolist()]


def embedded_captions(data: Data, indices: Tensor) -> list[str] | list[bytes]:
    """Return the keys by which captions are distinguished: the texts, else the embeddings."""
    if data.captions is not None:
        return [data.captions[int(index)] for index in indices.tolist()]
    return [tensor_bytes(row).tobytes() for row in embeddings_of(data, indices)]
