"""How well samples fit the embeddings they were made for: CLIP score, or two small heads that say so."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.features.base import FeatureExtractor, short_identity
from flowprior.features.clip import ClipFeatures
from flowprior.features.contrastive import AMONG, STEPS, PairHeads, train_heads
from flowprior.metrics.base import Metric, MetricInfo, SampleMetric
from flowprior.metrics.setup import Drawn, Setup

PAIRS = 5000
"""Real training pairs that the heads learn from."""


def clip_score(features: Tensor, cond: Tensor) -> float:
    """100 E max(cos, 0) of image embeddings ``[N, E]`` and text embeddings ``[N, E]``."""
    cosine = torch.nn.functional.cosine_similarity(features.double(), cond.double(), dim=1)
    return 100 * cosine.clamp_min(0).mean().item()


@Metric.register("image-text")
class ImageText(SampleMetric):
    """Fit of samples to the embeddings they were made for: ``clip-score``, or ``pair-…`` by heads, not CLIP.

    CLIP's own score, 100 max(cos, 0) (Hessel et al. 2021, without its factor), where the features are CLIP's
    and the condition has as many numbers: then it must be the embedding of CLIP's text tower. For all other
    features two heads are trained on the training split; their real-data score is that of held-out pairs.
    """

    real_data = "held-out"

    def __init__(self) -> None:
        self._heads: dict[tuple[str, str], PairHeads] = {}

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        if setup.data.condition.kind != "embeddings":
            return {}
        samples, reference = setup.samples, setup.reference.describe(setup.samples)
        return {
            name: MetricInfo(what, samples, reference, "higher", features=short_identity(extractor))
            for extractor in setup.extractors
            for name, what in _descriptions(extractor, setup).items()
        }

    def lacks(self, setup: Setup) -> str:
        paired = setup.data.condition.kind == "embeddings"
        return "features of pictures: pass some (--features)" if paired else "embeddings as conditions"

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        assert isinstance(drawn.cond, Tensor)
        found: dict[str, float] = {}
        for extractor in setup.extractors:
            features, name = drawn.features(extractor), extractor.features_name
            if _is_clip(extractor, setup):
                found["clip-score"] = clip_score(features, drawn.cond)
            else:
                score = self._trained(extractor, setup).score(features, drawn.cond)
                found |= {f"pair-cosine-{name}": score.cosine, f"pair-top1-{name}": score.top1}
        return found

    def _trained(self, extractor: FeatureExtractor, setup: Setup) -> PairHeads:
        key = (extractor.identity(), setup.training.digest)
        if key not in self._heads:
            _, cond = setup.training.subset(PAIRS)
            assert isinstance(cond, Tensor)
            self._heads[key] = train_heads(setup.training.features(extractor, PAIRS), cond)
        return self._heads[key]


def _descriptions(extractor: FeatureExtractor, setup: Setup) -> dict[str, str]:
    """What each value under one set of features is."""
    if _is_clip(extractor, setup):
        return {"clip-score": "100 max(cos, 0) of CLIP's image and text embeddings"}
    name = extractor.features_name
    heads = f"of contrastive heads on {name} features ({STEPS} steps, not CLIP)"
    return {
        f"pair-cosine-{name}": f"cosine of samples and their own conditions, {heads}",
        f"pair-top1-{name}": f"share nearest to their own of {AMONG} conditions, {heads}",
    }


def _is_clip(extractor: FeatureExtractor, setup: Setup) -> bool:
    return isinstance(extractor, ClipFeatures) and extractor.dim == setup.data.condition.size
