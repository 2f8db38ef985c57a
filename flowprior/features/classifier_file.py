"""A data set's classifier in a file of its own, bound to its weights by their digest.

A Fréchet distance is comparable only under one extractor with one set of weights, and a classifier that is
trained anew on another processor, or with another number of threads, has other weights. So values that are to
be compared with stored ones take the classifier from its file.
"""

from __future__ import annotations

from pathlib import Path

from flowprior.data.base import Data
from flowprior.errors import CheckpointError
from flowprior.features.classifier import Classifier
from flowprior.features.classifier_training import fingerprint
from flowprior.storage import load_tensors, save_tensors

DIGITS = 8
"""Digits of the digest in a file's name."""


def save_classifier(classifier: Classifier, train: Data, folder: str | Path, made_with: str = "") -> Path:
    """Write a classifier to ``folder``; the file's name ends with the first digits of its weights' sha256.

    Args:
        classifier: trained on ``train`` with the seed 0.
        train: the training data.
        folder: where the file goes.
        made_with: what somebody who trains it again needs, such as the instruction set.

    Returns:
        The file.

    Raises:
        CheckpointError: it cannot be written.
    """
    identity = classifier.identity()
    plain = "".join(c if c.isalnum() else "-" for c in train.name).strip("-")
    path = Path(folder) / f"{plain}-{_digest(identity)}.safetensors"
    kept = {"data": train.name, "data_fingerprint": fingerprint(train, seed=0), "identity": identity}
    save_tensors(path, dict(classifier.state_dict()), kept | ({"made_with": made_with} if made_with else {}))
    return path


def load_classifier(path: str | Path, data: Data) -> Classifier:
    """The classifier of a file that :func:`save_classifier` wrote, its weights verified.

    Args:
        path: the file.
        data: gives event shape and number of labels.

    Raises:
        CheckpointError: the file is missing or damaged, is for other events or labels, or its weights are not
            those that its name and its metadata promise.
    """
    path = Path(path)
    tensors, kept = load_tensors(path)
    classifier = Classifier(data.event_shape, data.condition.size)
    try:
        for name in ("shift", "scale"):
            classifier.register_buffer(name, tensors[name].clone())
        classifier.load_state_dict(tensors)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} holds no classifier of '{data.name}': other events or labels"
        ) from error
    promised, found = kept.get("identity", "none"), classifier.identity()
    if found != promised or not path.stem.endswith(f"-{_digest(promised)}"):
        raise CheckpointError(
            f"{path} is not the classifier that it is named after: expected {promised}, got {found}; restore "
            "the file"
        )
    return classifier.eval().requires_grad_(False)


def _digest(identity: str) -> str:
    return identity.rsplit(" ", 1)[1][:DIGITS]
