"""The feature extractors: the data set's classifier and its training, Inception, Lite0, CLIP."""

from flowprior.features.base import FEATURES, FeatureExtractor, NetworkFeatures, as_extractor
from flowprior.features.classifier import (
    Classifier,
    accuracy_on,
    data_classifier,
    load_classifier,
    save_classifier,
    train_classifier,
)
from flowprior.features.pretrained import ClipFeatures, InceptionFeatures, Lite0Features

__all__ = [
    "FEATURES",
    "Classifier",
    "ClipFeatures",
    "FeatureExtractor",
    "InceptionFeatures",
    "Lite0Features",
    "NetworkFeatures",
    "accuracy_on",
    "as_extractor",
    "data_classifier",
    "load_classifier",
    "save_classifier",
    "train_classifier",
]
