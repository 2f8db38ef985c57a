"""Train the data set's classifier, or take it from the cache."""

from __future__ import annotations

import hashlib
import warnings

import torch
from torch import Tensor, nn

from flowprior.data.base import Data
from flowprior.errors import InputError
from flowprior.features.base import initialise
from flowprior.features.cache import cached_tensors
from flowprior.features.classifier import Classifier

RECIPE = 1
"""Raise it with every change of network or training that the constants below do not show."""

BATCH = 128
STEPS = 1400
MOST_EPOCHS = 20
LEARNING_RATE = 2e-3


def data_classifier(data: Data, *, seed: int = 0, cache: bool = True) -> Classifier:
    """The classifier of a labelled data set, from the cache or trained and put there.

    The cache is ``$FLOWPRIOR_CACHE``, or ``~/.cache/flowprior``; a file there that cannot be read is
    replaced, and one that cannot be written is done without, with a warning.

    Args:
        data: the training split.
        seed: of weights and order; values under classifiers of different seeds are not comparable.
        cache: whether to look for it on the disk and leave it there.

    Raises:
        InputError: the data set has no labels.
    """
    if not cache:
        return train_classifier(data, seed=seed)
    metadata = {"data": data.name, "recipe": str(RECIPE)}
    name = f"classifier-{fingerprint(data, seed)}"
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
        raise InputError(
            f"classifier: expected data with labels, '{data.name}' has {data.condition.describe()}"
        )
    classifier = Classifier(data.event_shape, data.condition.size)
    generator = torch.Generator().manual_seed(seed)
    initialise(classifier, generator, "relu")
    _set_scale(classifier, data)
    size = min(BATCH, len(data))
    steps = min(STEPS, MOST_EPOCHS * (len(data) // size))
    optimiser = torch.optim.AdamW(classifier.parameters(), LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    order = torch.empty(0, dtype=torch.long)
    with torch.enable_grad():
        for _ in range(steps):
            if len(order) < size:
                order = torch.randperm(len(data), generator=generator)
            x, labels = data.batch(order[:size])
            order = order[size:]
            _step(classifier, optimiser, x, labels)
            schedule.step()
    return classifier.eval().requires_grad_(False)


def fingerprint(data: Data, seed: int) -> str:
    """Hash of everything that decides the weights: recipe, seed, number of labels, every event and label."""
    recipe = f"{RECIPE} {BATCH} {STEPS} {MOST_EPOCHS} {LEARNING_RATE}"
    digest = hashlib.sha256(f"{recipe} {seed} {data.condition} {list(data.event_shape)}".encode())
    for x, labels in data.batches():
        digest.update(x.float().contiguous().numpy().data)
        if labels is not None:
            digest.update(labels.contiguous().numpy().data)
    return digest.hexdigest()[:24]


def _set_scale(classifier: Classifier, data: Data) -> None:
    """Standardise by mean and deviation: one number each for pictures, one a coordinate for the rest."""
    axes = (0, 1, 2, 3) if len(data.event_shape) == 3 else (0,)
    count, total, squares = 0, torch.zeros(()).double(), torch.zeros(()).double()
    for x, _ in data.batches():
        rows = x.double()
        count += rows.numel() // max(rows.mean(axes).numel(), 1)
        total = total + rows.sum(axes)
        squares = squares + rows.square().sum(axes)
    mean = total / count
    deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
    classifier.register_buffer("shift", mean.float())
    classifier.register_buffer("scale", deviation.float().clamp_min(1e-3))


def _step(classifier: Classifier, optimiser: torch.optim.Optimizer, x: Tensor, labels: Tensor | None) -> None:
    assert labels is not None
    if x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    optimiser.zero_grad(set_to_none=True)
    nn.functional.cross_entropy(classifier(x), labels).backward()
    optimiser.step()
