"""The feature extractors: the data set's classifier and its training, Inception, Lite0, CLIP."""

import flowprior.features.pretrained
from flowprior.features.base import FEATURES, FeatureExtractor
from flowprior.features.classifier import load_classifier, train_classifier

__all__ = ["FEATURES", "FeatureExtractor", "load_classifier", "train_classifier"]
