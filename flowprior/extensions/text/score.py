"""The metric ``image-text``: how well images fit their captions, by CLIP or a regression."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from flowprior.data.base import Data
from flowprior.errors import InputError
from flowprior.extensions.text.scorers import CaptionScorer, DistinctCaptions, scorer_of
from flowprior.features.base import FeatureExtractor, short_identity
from flowprior.metrics.base import Metric, MetricInfo, SampleMetric
from flowprior.metrics.setup import Drawn, Rows, Setup

AMONG = 300
"""Different captions that a picture's own is to be found among: those of the split with the least sha256."""
NEAREST = (1, 5)
"""A caption counts as found where it is among so many nearest ones."""
ROUNDING = 1e-12
"""By which two sums of the same cosine may differ."""


@Metric.register("image-text")
class ImageText(SampleMetric):
    """Fit of pictures to their captions: CLIP score or cosine, and how often the caption is found among 300.

    Pictures are compared with the stored captions of the real ones whose conditions they were generated for,
    whatever these are: embeddings, parts, or labels that say less than the caption. CLIP features compare by
    CLIP itself (Hessel et al. 2021, without their factor), and data without captions by the names of their
    classes. Other features compare by a ridge regression of caption embeddings, which is not CLIP. The
    real-data score is that of the real pictures themselves.
    """

    real_data = "held-out"
    needs_classifier = False
    names = ("clip-score", "caption-cosine", *(f"caption-top{count}" for count in NEAREST))

    def __init__(self) -> None:
        self._scorers: dict[tuple[int, int], CaptionScorer] = {}

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        if setup.rows is None or setup.rows.data is not setup.reference.data:
            return {}
        samples, reference = setup.samples, setup.reference.describe(setup.samples)
        return {
            name: MetricInfo(what, samples, reference, "higher", features=short_identity(extractor))
            for extractor in _extractors(setup)
            for name, what in self._descriptions(self._scorer(extractor, setup), setup.rows.data).items()
        }

    def lacks(self, setup: Setup) -> str:
        if setup.rows is None:
            return "the conditions of the reference (conditions='reference')"
        if not _extractors(setup):
            return "features of pictures: pass some (--features)"
        return "captions, as texts for CLIP, and by one text encoder as embeddings for other features"

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        assert drawn.rows is not None
        found: dict[str, float] = {}
        for extractor in _extractors(setup):
            scorer = self._scorer(extractor, setup)
            captions = scorer.captions_of(drawn.rows.data)
            if captions is not None:
                found |= _values(scorer, captions, drawn.features(extractor), drawn.rows)
        return found

    def _scorer(self, extractor: FeatureExtractor, setup: Setup) -> CaptionScorer:
        key = id(extractor), id(setup.training)  # a scorer holds both, so that no other gets their numbers
        if key not in self._scorers:
            self._scorers[key] = scorer_of(extractor, setup.training)
        return self._scorers[key]

    def _descriptions(self, scorer: CaptionScorer, data: Data) -> dict[str, str]:
        """What each value under one set of features is."""
        captions = scorer.captions_of(data)
        if captions is None:
            return {}
        among, own = min(AMONG, len(captions)), f"captions sha256 {captions.digest[:8]}"
        what = "share of pictures whose own caption is {} of {} captions, by {}; {}"
        places = {1: "the nearest"} | {count: f"among the {count} nearest" for count in NEAREST if count > 1}
        return {scorer.fit_name: f"{scorer.fit_description()}; {own}"} | {
            _name(count, scorer): what.format(places[count], among, scorer.how(), own)
            for count in NEAREST
            if count < among
        }


def caption_ranks(images: Tensor, own: Tensor, numbers: Tensor, others: Tensor) -> Tensor:
    """How many other captions are at least as near to each picture as its own, by the cosine; int64 ``[N]``.

    Every picture has its own caption among K: where it is none of ``others``, it takes the place of the last.
    Captions that are equally near count as nearer, so that a scorer that tells none apart finds nothing.

    Args:
        images: embeddings of pictures ``[N, E]``.
        own: of their captions ``[N, E]``.
        numbers: of their captions, int64 ``[N]``: below K the place in ``others``.
        others: embeddings of K captions ``[K, E]``, all different.

    Raises:
        InputError: shapes that do not fit.
    """
    shapes = [list(tensor.shape) for tensor in (images, own, others)]
    if images.shape != own.shape or own.dim() != 2 or own.shape[1:] != others.shape[1:] or not len(others):
        raise InputError(f"caption_ranks: expected embeddings [N, E], [N, E] and [K, E], got {shapes}")
    images, own, others = (normalize(tensor.double(), dim=1) for tensor in (images, own, others))
    nearer = images @ others.T >= (images * own).sum(1, keepdim=True) - ROUNDING
    places = numbers.clamp_max(len(others) - 1)
    return nearer.scatter(1, places[:, None], False).sum(1)


def _extractors(setup: Setup) -> list[FeatureExtractor]:
    """All but the data set's classifier, which has learned labels and nothing else of a picture."""
    return [extractor for extractor in setup.extractors if extractor is not setup.classifier]


def _values(
    scorer: CaptionScorer, captions: DistinctCaptions, features: Tensor, rows: Rows
) -> dict[str, float]:
    """Return the values of images with features ``[N, F]`` and the captions of ``rows``."""
    images, own = scorer.images(features), scorer.embed(rows.data, rows.indices)
    others = scorer.embed(rows.data, captions.first[:AMONG])
    ranks = caption_ranks(images, own, captions.numbers[rows.indices], others)
    cosines = cosine_similarity(images.double(), own.double(), dim=1)
    return {scorer.fit_name: scorer.fit(cosines)} | {
        _name(count, scorer): (ranks < count).double().mean().item()
        for count in NEAREST
        if count < len(others)
    }


def _name(count: int, scorer: CaptionScorer) -> str:
    return f"caption-top{count}-{scorer.extractor.features_name}"
