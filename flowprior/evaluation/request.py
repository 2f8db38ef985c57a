"""What an evaluation is asked for, checked before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from flowprior.data.base import Data
from flowprior.data.splits import HIGHEST_SEED
from flowprior.errors import InputError, OptionError
from flowprior.features.base import FeatureExtractor, as_extractor
from flowprior.features.classifier import Classifier
from flowprior.features.classifier_training import data_classifier
from flowprior.flow import Flow
from flowprior.flow.guidance import check_guidance
from flowprior.registry import is_whole
from flowprior.samplers.base import check_nfe

Features = Sequence[str | nn.Module | FeatureExtractor]
MOST_SAMPLES = 1_000_000
"""Samples of one setting, which are held in memory together."""


def check_counts(
    samples: int, nfe: Sequence[int], guidances: Sequence[float], seeds: Sequence[int], batch_size: int | str
) -> None:
    """Refuse impossible numbers.

    Raises:
        OptionError: the message says which, and what to choose.
    """
    if not guidances or not all(math.isfinite(guidance) for guidance in guidances):
        wrong = next((g for g in guidances if not math.isfinite(g)), list(guidances))
        raise OptionError(f"evaluate: guidance={wrong} is not possible; choose a finite one (--guidance)")
    if not is_whole(samples) or not 2 <= samples <= MOST_SAMPLES:
        raise OptionError(
            f"evaluate: samples={samples!r} is not possible; choose 2 or more (--samples), "
            f"{MOST_SAMPLES:,} at most"
        )
    for count in nfe:
        check_nfe("evaluate", count)
    if not nfe or any(count < 0 for count in nfe):
        raise OptionError(f"evaluate: nfe={list(nfe)} is not possible; give one or more numbers from 0 on")
    if not seeds or not all(is_whole(seed) and 0 <= seed < HIGHEST_SEED for seed in seeds):
        raise OptionError(
            f"evaluate: seeds={list(seeds)} is not possible; give one or more numbers from 0 on"
        )
    if batch_size != "auto" and (isinstance(batch_size, str) or batch_size < 1):
        raise OptionError(f"evaluate: batch_size={batch_size!r} is not possible; choose 'auto', or 1 or more")


def check_guidances(flow: Flow, guidances: Sequence[float]) -> None:
    """Refuse guidance that the flow was not trained for.

    Raises:
        OptionError: see :func:`flowprior.flow.guidance.check_guidance`.
    """
    for guidance in guidances:
        check_guidance(guidance, flow.condition, flow.metadata)


def check_fit(flow: Flow, data: Data) -> None:
    """Refuse data that the flow was not made for.

    Raises:
        InputError: other events or another kind of condition.
    """
    if tuple(data.event_shape) != tuple(flow.event_shape) or data.condition.kind != flow.condition.kind:
        raise InputError(
            f"evaluate: the flow makes events {list(flow.event_shape)} from {flow.condition.describe()}, but "
            f"'{data.name}' has events {list(data.event_shape)} and {data.condition.describe()}"
        )


def judge_of(classifier: str | Classifier | None, data: Data) -> Classifier | None:
    """The classifier to use; none for data without labels or with a single one.

    Raises:
        InputError: one of other events or labels.
        OptionError: neither ``"auto"`` nor a classifier.
    """
    if classifier is None or data.condition.kind != "labels" or data.condition.size < 2:
        return None
    if not isinstance(classifier, str):
        if not classifier.fits(data.event_shape, data.condition):
            raise InputError(f"evaluate: the classifier is not one for '{data.name}': other events or labels")
        return classifier
    if classifier != "auto":
        raise OptionError(
            f"evaluate: classifier='{classifier}' is not possible; pass 'auto', None or a Classifier"
        )
    return data_classifier(data)


def extractors_of(judge: Classifier | None, features: Features, flow: Flow) -> list[FeatureExtractor]:
    """The classifier's features first, then ``features``; those built here go to the flow's device.

    Raises:
        UnknownComponentError: no extractor of that name.
        OptionError: two of one name, or options that do not fit.
    """
    found: list[FeatureExtractor] = [] if judge is None else [judge]
    for item in features:
        extractor = as_extractor(item)
        if isinstance(item, str) and isinstance(extractor, nn.Module):
            extractor.to(flow.prior.event_dims.device)
        if extractor.features_name in [other.features_name for other in found]:
            raise OptionError(
                f"evaluate: features '{extractor.features_name}' are given twice; leave one out, or name "
                "a module by NetworkFeatures(module, name)"
            )
        found.append(extractor)
    return found
