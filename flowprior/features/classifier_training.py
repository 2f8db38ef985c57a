"""Where the data set's classifier comes from: its training, the cache, or a file of its own.

Trained anew on another processor, or with another number of threads, it has other weights. So values that are
compared with stored ones take it from a file, which is bound to its weights by their digest.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from flowprior.conditions import labels_in
from flowprior.data.base import Data
from flowprior.errors import CheckpointError, InputError
from flowprior.features.base import initialise
from flowprior.features.classifier import Classifier
from flowprior.mixtures.moments import ConditionMoments
from flowprior.progress import stage
from flowprior.storage import load_tensors, save_tensors
from flowprior.storage.tensor_files import cached_tensors

RECIPE = 1
"""Raise it with every change of network or training that the constants below do not show."""

BATCH = 128
STEPS = 1400
MOST_EPOCHS = 20
LEARNING_RATE = 2e-3
DIGITS = 8
"""Digits of the digest in a file's name."""
WEIGHTS = Path(__file__).parent / "weights"
SHIPPED = {
    "665422a67278879046c24829": "digits-f607d1b6",
    "ff1d8ba32c2e4a6d4998ea7c": "fashion-mnist-train55000-3e318618",
    "3521cf61dd335d05e28d5eee": "fashion-mnist-train55000-3e318618",
}
"""Fingerprint of the training data -> file of :data:`WEIGHTS`, without its ending.

The second is all of Fashion-MNIST's training split, the third the 55,000 images that studies train on.
"""


def data_classifier(data: Data, *, seed: int = 0) -> Classifier:
    """The classifier of a labelled data set: from the package, from the cache, or trained and put there.

    The package has one for digits and one for Fashion-MNIST, found by the data's fingerprint. The cache is
    ``$FLOWPRIOR_CACHE``, or ``~/.cache/flowprior``; a file there that cannot be read is replaced, and one
    that cannot be written is done without, with a warning.

    Args:
        data: the training split.
        seed: of weights and order; values under classifiers of different seeds are not comparable.

    Raises:
        InputError: the data set has no labels.
    """
    printed = fingerprint(data, seed)
    if printed in SHIPPED:
        return load_classifier(WEIGHTS / f"{SHIPPED[printed]}.safetensors", data)
    metadata, name = {"data": data.name, "recipe": str(RECIPE)}, f"classifier-{printed}"
    tensors = cached_tensors(name, metadata, lambda: dict(train_classifier(data, seed=seed).state_dict()))
    try:
        return Classifier.of_tensors(tensors, data.event_shape, data.condition.size)
    except (KeyError, RuntimeError) as error:
        warnings.warn(f"{name} in the cache is of another network: {error}", RuntimeWarning, stacklevel=2)
        return train_classifier(data, seed=seed)


def train_classifier(data: Data, *, seed: int = 0) -> Classifier:
    """Train on all of ``data``: AdamW, one cycle of the learning rate, cross-entropy, no augmentation.

    The same seed gives the same weights on the same machine and number of threads.

    Raises:
        InputError: the data set has no labels.
    """
    if data.condition.kind != "labels" or len(data) == 0:
        found = data.condition.describe()
        raise InputError(f"classifier: expected data with labels, '{data.name}' has {found}")
    classifier = Classifier(data.event_shape, data.condition.size)
    generator = torch.Generator().manual_seed(seed)
    initialise(classifier, generator, "relu")
    _set_scale(classifier, data)
    size = min(BATCH, len(data))
    steps = min(STEPS, MOST_EPOCHS * (len(data) // size))
    optimiser = torch.optim.AdamW(classifier.parameters(), LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    with torch.enable_grad(), stage(f"train the classifier of {data.name}", steps) as training:
        for indices in islice(_shuffled(len(data), size, generator), steps):
            x, labels = data.batch(indices)
            _step(classifier, optimiser, x, labels_in(labels))
            schedule.step()
            training.advance()
    return classifier.eval().requires_grad_(False)


def save_classifier(classifier: Classifier, train: Data, folder: str | Path) -> Path:
    """Write a classifier to ``folder``; the file's name ends with the first digits of its weights' sha256.

    Args:
        classifier: trained on ``train`` with the seed 0.
        train: the training data.
        folder: where the file goes.

    Returns:
        The file.

    Raises:
        CheckpointError: it cannot be written.
    """
    identity = classifier.identity()
    plain = "".join(c if c.isalnum() else "-" for c in train.name).strip("-")
    path = Path(folder) / f"{plain}-{_digest(identity)}.safetensors"
    kept = {"data": train.name, "data_fingerprint": fingerprint(train, seed=0), "identity": identity}
    save_tensors(path, dict(classifier.state_dict()), kept)
    return path


def load_classifier(path: str | Path, data: Data) -> Classifier:
    """The classifier of a file that :func:`save_classifier` wrote, its weights verified.

    Args:
        path: the file.
        data: gives event shape and, where its condition is a label, the number of labels.

    Raises:
        CheckpointError: the file is missing or damaged, is for other events or labels, or its weights are not
            those that its name and its metadata promise.
    """
    path = Path(path)
    tensors, kept = load_tensors(path)
    try:
        labelled = data.condition.kind == "labels"
        classes = data.condition.size if labelled else len(tensors["network.1.bias"])
        classifier = Classifier.of_tensors(tensors, data.event_shape, classes)
    except (KeyError, RuntimeError) as error:
        problem = f"{path} holds no classifier of '{data.name}': other events or labels"
        raise CheckpointError(problem) from error
    promised, found = kept.get("identity", "none"), classifier.identity()
    if found != promised or not path.stem.endswith(f"-{_digest(promised)}"):
        raise CheckpointError(
            f"{path} is not the classifier that it is named after: expected {promised}, got {found}; restore "
            "the file"
        )
    return classifier


def fingerprint(data: Data, seed: int) -> str:
    """Hash of everything that decides the weights: recipe, seed, number of labels, every event and label."""
    recipe = f"{RECIPE} {BATCH} {STEPS} {MOST_EPOCHS} {LEARNING_RATE}"
    digest = hashlib.sha256(f"{recipe} {seed} {data.condition} {list(data.event_shape)}".encode())
    for x, labels in data.batches():
        digest.update(x.float().contiguous().numpy().data)
        if isinstance(labels, Tensor):
            digest.update(labels.contiguous().numpy().data)
    return digest.hexdigest()[:24]


def _set_scale(classifier: Classifier, data: Data) -> None:
    """Standardise by mean and deviation: one number each for pictures, one a coordinate for the rest."""
    moments = ConditionMoments.over((x.flatten(1), None) for x, _ in data.batches()).pooled()
    mean, variance = (part.view(data.event_shape) for part in (moments.mean, moments.variance))
    if len(data.event_shape) == 3:
        mean, variance = mean.mean(), variance.mean() + mean.var(correction=0)
    classifier.register_buffer("shift", mean.float())
    classifier.register_buffer("scale", variance.sqrt().float().clamp_min(1e-3))


def _shuffled(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches of indices below ``count`` without end; each order leaves out what fills no batch."""
    while True:
        order = torch.randperm(count, generator=generator)
        yield from order[: count // size * size].split(size)


def _step(classifier: Classifier, optimiser: torch.optim.Optimizer, x: Tensor, labels: Tensor | None) -> None:
    assert labels is not None
    if x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    optimiser.zero_grad(set_to_none=True)
    nn.functional.cross_entropy(classifier(x), labels).backward()
    optimiser.step()


def _digest(identity: str) -> str:
    return identity.rsplit(" ", 1)[1][:DIGITS]
