"""The data set's own classifier: accuracy of generated samples, and the features of the Fréchet distance.

A small CNN for images, an MLP for everything else. Both end in a linear layer to ``FEATURES`` numbers, a
ReLU, and a linear layer to the logits; the outputs of the ReLU are the features.

It comes from the package, from the cache, or from its training. Trained anew on another processor, or with
another number of threads, it has other weights. So values that are compared with stored ones take it from a
file, which is bound to its weights by their digest.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.conditions.rows import labels_in
from flowprior.data.base import Data
from flowprior.errors import CheckpointError, InputError, OptionError
from flowprior.mixtures.moments import ConditionMoments
from flowprior.progress.stages import stage
from flowprior.storage.tensor_files import cached_tensors, load_tensors, save_tensors
from flowprior.storage.user_paths import expanded

FEATURES = 128
"""The number of features."""
SMALLEST_SIDE = 7
"""The number of pixels a side up to which images are not pooled further."""
EVENTS_AT_ONCE = 500
"""The number of events of one forward pass."""
RECIPE = 1
"""The version of network and training; raise it with every change that the constants below do not show."""
BATCH = 128
STEPS = 1400
MOST_EPOCHS = 20
LEARNING_RATE = 2e-3
DIGITS = 8
"""The number of digits of the digest in a file's name."""
WEIGHTS = Path(__file__).parent / "weights"
SHIPPED = {
    "665422a67278879046c24829": "digits-f607d1b6",
    "ff1d8ba32c2e4a6d4998ea7c": "fashion-mnist-train55000-3e318618",
    "3521cf61dd335d05e28d5eee": "fashion-mnist-train55000-3e318618",
}
"""The fingerprint of the training data -> file of :data:`WEIGHTS`, without its ending.

The second is all of Fashion-MNIST's training split, the third the 55,000 images that studies train on.
"""


class Classifier(nn.Module):
    """A model of p(label | x) for events of one data set, without weights until it is trained or loaded.

    Args:
        event_shape: shape of one event; ``[C, H, W]`` takes a CNN, anything else an MLP.
        classes: number of labels.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, event_shape: torch.Size, classes: int) -> None:
        super().__init__()
        self.event_shape = torch.Size(event_shape)
        self.classes = classes
        self.network = _network_of(self.event_shape, classes).to_empty(device="cpu")
        numbers = () if len(event_shape) == 3 else event_shape  # an image has one for all pixels
        self.register_buffer("shift", torch.zeros(numbers))
        self.register_buffer("scale", torch.ones(numbers))

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor], event_shape: torch.Size, classes: int) -> Classifier:
        """Create the classifier whose ``state_dict`` is ``tensors``, in evaluation mode, its weights fixed.

        Raises:
            RuntimeError: tensors of another network.
        """
        found = cls(event_shape, classes)
        found.load_state_dict(dict(tensors))
        return found.eval().requires_grad_(False)

    @property
    def features_name(self) -> str:
        """Return the name of the features, as in ``fid-cnn128``."""
        return "cnn128" if len(self.event_shape) == 3 else "mlp128"

    def identity(self) -> str:
        """Name its weights, as in ``cnn128 sha256 1a2b3c…``: values under others are not comparable."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().double().contiguous().numpy().data)
        return f"{self.features_name} sha256 {digest.hexdigest()}"

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[B, classes]`` of x ``[B, *event]``."""
        return self.network(self._standardised(x))

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Return features ``[B, 128]``, on the CPU, of x ``[B, *event]``: the inputs of the last layer.

        Raises:
            InputError: x of another event shape.
        """
        return self._apply_to(x, self.network[0]).cpu()

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Return the likeliest label ``[B]`` of x ``[B, *event]``.

        Raises:
            InputError: x of another event shape.
        """
        return self._apply_to(x, self.network).argmax(1)

    def accuracy(self, x: Tensor, labels: Tensor) -> float:
        """Return the share of x ``[B, *event]`` that is recognised as ``labels`` ``[B]``."""
        return (self.predict(x).cpu() == labels.cpu()).double().mean().item()

    def serves(self, event_shape: torch.Size, condition: Condition) -> bool:
        """Return whether it takes events of this shape and, if the condition is a label, knows all labels."""
        known = condition.kind != "labels" or condition.size <= self.classes
        return known and torch.Size(event_shape) == self.event_shape

    def _apply_to(self, x: Tensor, layers: nn.Module) -> Tensor:
        if x.shape[1:] != self.event_shape or len(x) == 0:
            expected = f"x [B, {list(self.event_shape)}] with B >= 1"
            raise InputError(f"classifier: expected {expected}, got {list(x.shape)}")
        parts = (self._standardised(part.to(self.shift.device)) for part in x.split(EVENTS_AT_ONCE))
        return torch.cat([layers(part) for part in parts])

    def _standardised(self, x: Tensor) -> Tensor:
        return (x.float() - self.shift) / self.scale


def data_classifier(data: Data, *, seed: int = 0) -> Classifier:
    """Return the classifier of a labelled data set: from the package, the cache, or trained and put there.

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
    return Classifier.of_tensors(tensors, data.event_shape, data.condition.size)


def classifier_for(given: str | Classifier | None, data: Data, needed: bool = True) -> Classifier | None:
    """Return the classifier to use; none by itself for data without labels or with a single one.

    One that is given serves data of other conditions, too: by its features.

    Args:
        given: ``"auto"`` for that of the data, ``"none"`` or None for none, a classifier, or the file of one.
        data: the training split.
        needed: False if nothing looks at that of the data, which is then not trained.

    Raises:
        InputError: one of other events or labels.
        OptionError: neither a word, a classifier, nor a file.
        CheckpointError: a file that holds no classifier of these data, or other weights than it promises.
    """
    if given == "auto":
        labelled = data.condition.kind == "labels" and data.condition.size > 1
        return data_classifier(data) if needed and labelled else None
    if given is None or given == "none":
        return None
    if isinstance(given, Classifier):
        if not given.serves(data.event_shape, data.condition):
            raise InputError(f"evaluate: the classifier is not one for '{data.name}': other events or labels")
        return given
    if not expanded(given, "evaluate").is_file():
        raise OptionError(
            f"evaluate: classifier='{given}' is not possible; pass 'auto', 'none', a Classifier, or the "
            "file of one"
        )
    return load_classifier(given, data)


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
    for layer in classifier.modules():  # He's uniform initialisation (He et al. 2015)
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    _set_scale(classifier, data)
    size = min(BATCH, len(data))
    steps = min(STEPS, MOST_EPOCHS * (len(data) // size))
    optimiser = torch.optim.AdamW(classifier.parameters(), LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    with torch.enable_grad(), stage(f"train the classifier of {data.name}", steps) as training:
        for indices in islice(_shuffled(len(data), size, generator), steps):
            x, cond = data.batch(indices)
            labels = labels_in(cond)
            assert labels is not None
            if x.dim() == 4:
                x = x.contiguous(memory_format=torch.channels_last)
            optimiser.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(classifier(x), labels).backward()
            optimiser.step()
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
    """Load the classifier of a file that :func:`save_classifier` wrote, its weights verified.

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
    """Hash everything that determines the weights: recipe, seed, number of labels, every event and label."""
    recipe = f"{RECIPE} {BATCH} {STEPS} {MOST_EPOCHS} {LEARNING_RATE}"
    digest = hashlib.sha256(f"{recipe} {seed} {data.condition} {list(data.event_shape)}".encode())
    for x, labels in data.batches():
        digest.update(x.float().contiguous().numpy().data)
        if isinstance(labels, Tensor):
            digest.update(labels.contiguous().numpy().data)
    return digest.hexdigest()[:24]


def _network_of(event_shape: torch.Size, classes: int) -> nn.Sequential:
    """Create ``Sequential(body, head)`` on the meta device: the body gives features, the head logits."""
    with torch.device("meta"):
        if len(event_shape) == 3:
            body = _cnn(event_shape)
        else:
            first = nn.Linear(math.prod(event_shape), 256)
            body = nn.Sequential(nn.Flatten(), first, nn.ReLU(), nn.Linear(256, FEATURES), nn.ReLU())
        return nn.Sequential(body, nn.Linear(FEATURES, classes))


def _cnn(event_shape: torch.Size) -> nn.Sequential:
    """Stack 3 × 3 convolutions, each followed by a pooling that halves images larger than 7 pixels a side."""
    channels, height, width = event_shape
    layers: list[nn.Module] = []
    out = 32
    while len(layers) < 2 or min(height, width) > SMALLEST_SIDE:
        layers.append(nn.Sequential(nn.Conv2d(channels, out, 3, padding=1), nn.ReLU()))
        if min(height, width) > SMALLEST_SIDE:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        channels, out = out, 64
    head = nn.Linear(channels * height * width, FEATURES)
    return nn.Sequential(*layers, nn.Flatten(), head, nn.ReLU())


def _set_scale(classifier: Classifier, data: Data) -> None:
    """Standardise by mean and deviation: one number each for images, one a coordinate for the rest."""
    moments = ConditionMoments.over((x.flatten(1), None) for x, _ in data.batches()).pooled()
    mean, variance = (part.view(data.event_shape) for part in (moments.mean, moments.variance))
    if len(data.event_shape) == 3:
        mean, variance = mean.mean(), variance.mean() + mean.var(correction=0)
    classifier.shift.copy_(mean)
    classifier.scale.copy_(variance.sqrt()).clamp_min_(1e-3)


def _shuffled(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches of indices below ``count`` without end; each order leaves out what fills no batch."""
    while True:
        order = torch.randperm(count, generator=generator)
        yield from order[: count // size * size].split(size)


def _digest(identity: str) -> str:
    return identity.rsplit(" ", 1)[1][:DIGITS]
