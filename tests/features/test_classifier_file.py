"""A classifier's file: its weights are what it is named after, and a committed one is never trained anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from benchmarks.studies import CLASSIFIERS, digits
from flowprior.data import TensorData, load_data
from flowprior.errors import CheckpointError, OptionError
from flowprior.features import load_classifier, train_classifier
from flowprior.features.classifier import classifier_for, save_classifier
from flowprior.storage.tensor_files import load_tensors, save_tensors

DIGITS = CLASSIFIERS / "digits-f607d1b6.safetensors"


def points() -> TensorData:
    labels = torch.arange(200) % 2
    noise = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    return TensorData(noise + 4 * labels[:, None], labels, name="two points", classes=2)


def pictures(size: int) -> TensorData:
    labels = torch.arange(10)
    return TensorData(torch.zeros(10, 1, size, size), labels, name="pictures", classes=10, is_image=True)


@pytest.mark.parametrize("path", sorted(CLASSIFIERS.glob("*.safetensors")), ids=lambda path: path.stem)
def test_committed_weights_are_those_of_their_name(path: Path) -> None:
    _, kept = load_tensors(path)
    found = load_classifier(path, pictures(8 if kept["data"] == "digits" else 28)).identity()
    assert found == kept["identity"]
    assert path.stem.endswith(found.split("sha256 ")[1][:8])


def test_other_weights_under_a_classifiers_name_are_refused(tmp_path: Path) -> None:
    tensors, kept = load_tensors(DIGITS)
    key = next(name for name, tensor in tensors.items() if tensor.dim() > 1)
    tensors[key] = tensors[key] + 1e-6
    save_tensors(tmp_path / DIGITS.name, tensors, kept)
    with pytest.raises(CheckpointError, match="not the classifier that it is named after"):
        load_classifier(tmp_path / DIGITS.name, load_data("digits"))
    shutil.copy(DIGITS, tmp_path / "digits-00000000.safetensors")
    with pytest.raises(CheckpointError, match="named after"):
        load_classifier(tmp_path / "digits-00000000.safetensors", load_data("digits"))


def test_a_saved_classifier_comes_back_for_the_same_events(tmp_path: Path) -> None:
    trained = train_classifier(points())
    path = save_classifier(trained, points(), tmp_path)
    digest = trained.identity().split("sha256 ")[1]
    assert path.stem == f"two-points-{digest[:8]}"
    assert load_classifier(path, points()).identity() == trained.identity()
    with pytest.raises(CheckpointError, match="other events or labels"):
        load_classifier(DIGITS, points())


def test_an_evaluation_takes_the_classifier_of_a_file() -> None:
    found = classifier_for(str(DIGITS), load_data("digits"))
    assert found is not None
    assert found.identity() == digits.classifier().identity()
    assert "sha256 f607d1b6" in found.identity()
    with pytest.raises(OptionError, match="'auto', 'none', a Classifier, or the file of one"):
        classifier_for("no-such.safetensors", load_data("digits"))
