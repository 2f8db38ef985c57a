"""FID's Inception from a file: torch-fidelity's own features, digests, and files that are refused.

The real weights cannot be had here; a file of random ones for the same network stands in for them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch_fidelity import feature_extractor_inceptionv3 as fidelity

from flowprior.errors import DataNotFoundError, InputError, OptionError
from flowprior.features.base import as_extractor
from flowprior.features.pretrained import as_bytes
from flowprior.storage.digests import file_sha256


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
