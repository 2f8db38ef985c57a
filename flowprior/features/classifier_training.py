"""Train the data set's classifier, or take it from the cache."""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from flowprior.data.base import Data
from flowprior.errors import CheckpointError, InputError
from flowprior.features.classifier import Classifier
from flowprior.features.networks import initialise
from flowprior.storage import load_tensors, save_tensors

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
        seed: of weights and order; figures of different seeds are not comparable.
        cache: whether to look for it on the disk and leave it there.

    Raises:
        InputError: the data set has no labels.
    """
    if not cache:
        return train_classifier(data, seed=seed)
    path = cache_folder() / f"classifier-{fingerprint(data, seed)}.safetensors"
    if path.is_file():
        try:
            return _read(path, data)
        except (CheckpointError, RuntimeError) as error:
            warnings.warn(f"classifier cache {path} is trained anew: {error}", RuntimeWarning, stacklevel=2)
    classifier = train_classifier(data, seed=seed)
    try:
        save_tensors(path, dict(classifier.state_dict()), {"data": data.name, "recipe": str(RECIPE)})
    except CheckpointError as error:
        warnings.warn(f"the classifier is not cached: {error}", RuntimeWarning, stacklevel=2)
    return classifier


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
    initialise(classifier, generator)
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


def cache_folder() -> Path:
    """``$FLOWPRIOR_CACHE``, or ``~/.cache/flowprior``."""
    named = os.environ.get("FLOWPRIOR_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "flowprior"


def fingerprint(data: Data, seed: int) -> str:
    """Hash of everything that decides the weights: recipe, seed, number of labels, every event and label."""
    recipe = f"{RECIPE} {BATCH} {STEPS} {MOST_EPOCHS} {LEARNING_RATE}"
    digest = hashlib.sha256(f"{recipe} {seed} {data.condition} {list(data.event_shape)}".encode())
    for x, labels in data.batches():
        digest.update(x.float().contiguous().numpy().data)
        if labels is not None:
            digest.update(labels.contiguous().numpy().data)
    return digest.hexdigest()[:24]


def _read(path: Path, data: Data) -> Classifier:
    tensors, _ = load_tensors(path)
    classifier = Classifier(data.event_shape, data.condition.size)
    for name in ("shift", "scale"):
        classifier.register_buffer(name, tensors[name].clone())
    classifier.load_state_dict(tensors)
    return classifier.eval().requires_grad_(False)


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
