"""The classifier: accuracy, features, other shapes, reproducibility, its cache and its file."""

from __future__ import annotations

import copy
import re
import shutil
from pathlib import Path

import pytest
import torch

from benchmarks.studies import CLASSIFIERS, digits
from flowprior.conditions import Condition
from flowprior.data import Data, TensorData, load_data
from flowprior.errors import CheckpointError, InputError, OptionError
from flowprior.features import classifier as module
from flowprior.features import load_classifier, train_classifier
from flowprior.features.base import short_identity
from flowprior.features.classifier import (
    SHIPPED,
    Classifier,
    classifier_for,
    data_classifier,
    fingerprint,
    save_classifier,
)
from flowprior.storage.tensor_files import load_tensors, save_tensors
from tests.debian_data import fashion_mnist
from tests.evaluation.test_evaluate import whole

SERVED = [("labels", 10), ("labels", 11), ("embeddings", 10)]


def trained(*_: object, **__: object) -> None:
    raise AssertionError("trained although there are weights")


def blobs(shape: tuple[int, ...], count: int = 240) -> TensorData:
    """Three classes whose events differ in their mean, far from the origin and on a large scale."""
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(count) % 3
    means = torch.randn(3, *shape, generator=generator)
    x = 100 * (means[labels] + 0.3 * torch.randn(count, *shape, generator=generator)) + 500
    return TensorData(x, labels, name="blobs", classes=3)


def test_accuracy_is_the_share_of_right_predictions(
    classifier: Classifier, digits: tuple[Data, Data]
) -> None:
    assert classifier.accuracy(*whole(digits[1])) > 0.96
    x, labels = digits[0].batch(torch.arange(50))
    assert labels is not None
    predicted = classifier(x).argmax(1)
    assert torch.equal(classifier.predict(x), predicted)
    assert classifier.accuracy(x, labels) == (predicted == labels).double().mean().item()


def test_features_are_what_the_last_layer_sees_in_any_batch(
    classifier: Classifier, digits: tuple[Data, Data]
) -> None:
    x, _ = digits[0].batch(torch.arange(1100))
    features = classifier.features(x)
    assert features.shape == (1100, 128)
    assert (features >= 0).all()
    torch.testing.assert_close(classifier.network[1](features[:7]), classifier(x[:7]))
    torch.testing.assert_close(features[1050:], classifier.features(x[1050:]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(5,), (4, 3), (3, 12, 9), (1, 30, 17), (2, 1, 5)])
def test_events_of_any_shape_are_learned(shape: tuple[int, ...]) -> None:
    data = blobs(shape)
    data.x.flatten(1)[:, 0] = 7.0  # a constant does no harm
    found = train_classifier(data)
    assert found.accuracy(*whole(data)) > 0.95
    assert found.features_name == ("cnn128" if len(shape) == 3 else "mlp128")


def test_the_seed_decides_the_weights_and_global_randomness_does_not() -> None:
    data = blobs((5,))
    torch.manual_seed(1)
    first = train_classifier(data, seed=3).state_dict()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again, other = (train_classifier(data, seed=seed).state_dict() for seed in (3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["network.1.weight"], other["network.1.weight"])


def test_other_data_are_refused(classifier: Classifier) -> None:
    bare = TensorData(torch.zeros(4, 2))
    with pytest.raises(InputError, match=r"expected data with labels, 'tensors' has no condition"):
        train_classifier(bare)
    with pytest.raises(InputError, match=r"expected x \[B, .*1, 8, 8"):
        classifier.features(torch.zeros(3, 1, 9, 9))
    events = torch.Size([1, 8, 8])
    known = [classifier.serves(events, Condition(kind, size)) for kind, size in SERVED]
    assert known == [True, False, True]


def test_the_description_names_the_weights(classifier: Classifier) -> None:
    described = short_identity(classifier)
    assert re.fullmatch(r"cnn128 sha256 [0-9a-f]{8}", described)
    other = copy.deepcopy(classifier)
    other.scale = other.scale * 2
    assert short_identity(other) != described


class TestCache:
    """One file for each data set and seed."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("FLOWPRIOR_CACHE", str(tmp_path))
        return tmp_path

    def test_the_second_time_reads_the_same_weights(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = blobs((5,))
        first = data_classifier(data)
        monkeypatch.setattr(module, "train_classifier", trained)
        again = data_classifier(data)
        assert len(list(folder.iterdir())) == 1
        assert torch.equal(first(data.x), again(data.x))

    def test_other_data_labels_seeds_or_recipes_are_other_classifiers(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data, moved, relabelled = (blobs((5,)) for _ in range(3))
        moved.x[17, 3] += 1e-3
        assert relabelled.cond is not None
        relabelled.cond[0] = 2
        first = fingerprint(data, 0)
        assert fingerprint(blobs((5,)), 0) == first
        prints = {first, fingerprint(data, 1), fingerprint(moved, 0), fingerprint(relabelled, 0)}
        for constant in ("RECIPE", "BATCH", "STEPS", "MOST_EPOCHS", "LEARNING_RATE"):
            with monkeypatch.context() as patch:
                patch.setattr(module, constant, 2 * getattr(module, constant))
                prints.add(fingerprint(data, 0))
        assert len(prints) == 9

    @pytest.mark.parametrize(("printed", "weights"), sorted(SHIPPED.items()))
    def test_weights_of_the_package_are_taken_for_the_data_they_are_for(
        self, printed: str, weights: str, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        side = 8 if weights.startswith("digits") else 28
        data = TensorData(torch.zeros(10, 1, side, side), torch.arange(10), name="stand-in", classes=10)
        monkeypatch.setattr(module, "fingerprint", lambda data, seed: printed)
        monkeypatch.setattr(module, "train_classifier", trained)
        assert short_identity(data_classifier(data)).endswith(weights.rsplit("-", 1)[1])
        assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_fashion_mnist_needs_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights of the package recognise it after all their steps, and are found by its fingerprint."""
    monkeypatch.setattr(module, "train_classifier", trained)
    assert data_classifier(fashion_mnist("train")).accuracy(*whole(fashion_mnist("test"))) > 0.9


# -- weights of a file ----------------------------------------------------------------------------


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
