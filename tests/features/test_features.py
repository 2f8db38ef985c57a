"""Feature extractors: a user's module, names, identities, batches, what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from flowprior.errors import InputError, OptionError, UnknownComponentError
from flowprior.features.base import NetworkFeatures, as_extractor, as_rgb, short_identity
from flowprior.features.classifier import Classifier


class TinyNet(nn.Module):
    """Two features of an image."""

    def __init__(self, weight: float = 2.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.weight * torch.stack([x.flatten(1).mean(1), x.flatten(1).amax(1)], 1))


def test_a_module_of_the_user_is_an_extractor(generator: torch.Generator) -> None:
    x = torch.rand(70, 1, 4, 4, generator=generator)
    extractor = as_extractor(TinyNet().train())
    found = extractor.features(x)
    assert extractor.features_name == "tiny-net"
    assert (found.shape, found.dtype) == ((70, 2), torch.float32)
    torch.testing.assert_close(found[:, 1], 2 * x.flatten(1).amax(1))  # evaluation mode: no dropout


def test_the_identity_is_that_of_the_weights() -> None:
    first, again, other = (as_extractor(TinyNet(w)).identity() for w in (2.0, 2.0, 2.0001))
    assert first == again != other
    assert first.startswith("tiny-net sha256 ")
    assert len(first.split()[-1]) == 64
    recipe = NetworkFeatures(TinyNet(), "tiny-net", recipe="32px")
    assert recipe.identity() != first
    layers = torch.nn.Flatten(), torch.nn.Linear(4, 2)
    bare, rectified = (torch.nn.Sequential(*layers, *more) for more in ((), (torch.nn.ReLU(),)))
    assert as_extractor(bare).identity() != as_extractor(rectified).identity()
    assert len(short_identity(recipe)) == len("tiny-net 32px sha256 12345678")


def test_an_extractor_and_the_classifier_stay_as_they_are(classifier: Classifier) -> None:
    extractor = NetworkFeatures(TinyNet(), "mine")
    assert as_extractor(extractor) is extractor
    assert as_extractor(classifier) is classifier
    assert classifier.features_name == "cnn128"
    assert len(classifier.identity().split()[-1]) == 64
    assert classifier.identity().startswith(short_identity(classifier))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: as_rgb(torch.zeros(2, 5), "x"), "features 'x': expected images"),
        (lambda: as_rgb(torch.zeros(2, 4, 3, 3), "x"), "features 'x': expected images"),
        (lambda: as_extractor("lite1"), "did you mean 'lite0'"),
        (lambda: as_extractor(3), "a module, or an object with features_name"),
        (
            lambda: as_extractor(nn.Identity()).features(torch.zeros(3, 1, 2, 2)),
            r"features 'identity': expected a matrix \[B, F\], got \[3, 1, 2, 2\]",
        ),
    ],
)
def test_what_has_no_features_is_refused(call: Callable[[], object], words: str) -> None:
    with pytest.raises((InputError, OptionError, UnknownComponentError), match=words):
        call()
