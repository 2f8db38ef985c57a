"""The feature extractors, which turn events into the numbers that Fréchet distance, KID and others compare.

Values are comparable only under one set of weights, so each has a name, which goes into the metric's
(``fid-lite0``), and an identity with the sha256 of its weights.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from flowprior.errors import InputError, OptionError, pip_install
from flowprior.registry import Registry
from flowprior.storage.digests import module_description, settings_digest, tensors_digest


class FeatureExtractor(Protocol):
    """The interface of a feature extractor; the data set's :class:`Classifier` is one.

    Attributes:
        features_name: short, for the names of metrics, as in ``fid-lite0``.
    """

    @property
    def features_name(self) -> str: ...

    def features(self, x: Tensor) -> Tensor:
        """Return features ``[N, F]`` on the CPU of events x ``[N, *event]``, images in [-1, 1]."""
        ...

    def identity(self) -> str:
        """Return name, recipe and sha256 of the weights: equal for equal features, and only then."""
        ...


FEATURES: Registry[FeatureExtractor] = Registry("feature extractor", "flowprior.features")


class NetworkFeatures(nn.Module):
    """A feature extractor by a network; subclasses prepare events for it.

    Args:
        network: called on prepared events ``[B, …]``; gives ``[B, F]``.
        features_name: short name of the features.
        recipe: whatever else determines the features, such as the size that images are scaled to.
        digest: sha256 of the weights' file; None hashes the network's tensors.
        batch: events at once.
    """

    def __init__(
        self,
        network: nn.Module,
        features_name: str,
        *,
        recipe: str = "",
        digest: str | None = None,
        batch: int = 32,
    ) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.features_name = features_name
        self.recipe = recipe
        self.digest = digest
        self.batch = batch

    def prepare(self, x: Tensor) -> Tensor:
        """Return the network's input of x ``[B, *event]``."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Return features ``[B, F]`` of one batch x ``[B, *event]``, on the network's device."""
        return self.network(self.prepare(x))

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Return features ``[N, F]``, float32 on the CPU, of many events x ``[N, *event]``.

        Raises:
            InputError: events that the network cannot take, or features that are no matrix.
        """
        device = next((tensor.device for tensor in self.network.state_dict().values()), x.device)
        was_training, _ = self.training, self.eval()
        parts = [self(part.float().to(device)) for part in x.split(self.batch)]
        self.train(was_training)
        if not parts or any(part.dim() != 2 for part in parts):
            shape = list(parts[0].shape) if parts else "no events"
            raise InputError(f"features '{self.features_name}': expected a matrix [B, F], got {shape}")
        return torch.cat(parts).float().cpu()

    def identity(self) -> str:
        """See :meth:`FeatureExtractor.identity`."""
        digest = self.digest or settings_digest(
            {"tensors": tensors_digest(self.network.state_dict()), "parts": module_description(self.network)}
        )
        return " ".join(filter(None, [self.features_name, self.recipe, f"sha256 {digest}"]))


def as_extractor(value: Any) -> FeatureExtractor:
    """Return an extractor as it is, one of the registry by name or spec, or any module that gives ``[B, F]``.

    A module of the user is called on float32 events ``[B, *event]``, images in [-1, 1]; the features are
    named after its class. Wrap it in :class:`NetworkFeatures` to name them otherwise.

    Raises:
        UnknownComponentError: no extractor of that name.
        OptionError: something else, or options that do not fit.
    """
    if isinstance(value, str):
        return FEATURES.resolve(value)
    if all(hasattr(value, part) for part in ("features_name", "features", "identity")):
        return value
    if isinstance(value, nn.Module):
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type(value).__name__).lower()
        return NetworkFeatures(value, name)
    raise OptionError(
        f"features={value!r} is not possible; give a name of {', '.join(FEATURES.available())}, a module, or "
        "an object with features_name, features and identity"
    )


def extractors_on(device: torch.device, features: Sequence[Any]) -> list[FeatureExtractor]:
    """Return the extractors that are named or given; those that are built here go to the device.

    Raises:
        UnknownComponentError: no extractor of that name.
        OptionError: something else, or options that do not fit.
    """
    found = [as_extractor(item) for item in features]
    for item, extractor in zip(features, found, strict=True):
        if isinstance(item, str) and isinstance(extractor, nn.Module):
            extractor.to(device)
    return found


def check_names(extractors: Sequence[FeatureExtractor]) -> None:
    """Check that no two extractors have one name, under which their values would be mixed up.

    Raises:
        OptionError: it says which.
    """
    names = [extractor.features_name for extractor in extractors]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(
                f"evaluate: features '{name}' are given twice; leave one out, or name a module by "
                "NetworkFeatures(module, name)"
            )


def short_identity(extractor: FeatureExtractor) -> str:
    """Return an extractor's identity with 8 digits of its digest, for people."""
    return short(extractor.identity())


def short(identity: str) -> str:
    """Return an identity with 8 digits of each digest."""
    return re.sub(r"(sha256 [0-9a-f]{8})[0-9a-f]+", r"\1", identity)


def missing_extra(features: str, package: str) -> OptionError:
    """Return the error of features whose package, of the extra of their name, is not installed."""
    return OptionError(f"features '{features}' need {package}; run `{pip_install(features)}`")


def as_rgb(x: Tensor, owner: str) -> Tensor:
    """Return images x ``[B, 1 or 3, H, W]`` with three channels.

    Raises:
        InputError: other events.
    """
    if x.dim() != 4 or x.shape[1] not in (1, 3):
        expected = "images [B, 1 or 3, H, W] in [-1, 1]"
        raise InputError(f"features '{owner}': expected {expected}, got {list(x.shape)}")
    return x.expand(-1, 3, -1, -1)
