"""The judges' weights that are committed in ``benchmarks/judges``: one classifier for each training set.

A Fréchet distance is comparable only under one extractor with one set of weights, and a classifier that is
trained anew on another processor, or with another number of threads, has other weights. So an experiment does
not train its judge: it loads the file that names its training data and checks the digest of what it loaded.
Data that no file names (your own pictures) get a judge trained once and left there; commit it with the cells.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from flowprior.data import Data
from flowprior.errors import CheckpointError
from flowprior.features.classifier import Classifier
from flowprior.features.classifier_training import fingerprint, train_classifier
from flowprior.storage import load_tensors, save_tensors

JUDGES = Path(__file__).parents[1] / "judges"
DIGITS = 8
"""Digits of the digest in a file's name."""


def judge_of(train: Data, folder: Path = JUDGES) -> Classifier:
    """The judge of the training data ``train``: loaded and verified, or trained and left in ``folder``.

    Raises:
        CheckpointError: the file's weights are not those that its name and its metadata promise, or two files
            are for the same data.
    """
    data = fingerprint(train, seed=0)
    found = [(path, *load_tensors(path)) for path in sorted(folder.glob("*.safetensors"))]
    own = [(path, tensors, kept) for path, tensors, kept in found if kept.get("data_fingerprint") == data]
    if len(own) > 1:
        names = ", ".join(path.name for path, _, _ in own)
        raise CheckpointError(f"judge: expected one file for '{train.name}', got {names}; remove all but one")
    if own:
        path, tensors, kept = own[0]
        return _verified(_classifier(train, tensors), kept["identity"], path)
    classifier = train_classifier(train)
    keep_judge(classifier, train, folder)
    return classifier


def keep_judge(classifier: Classifier, train: Data, folder: Path = JUDGES, made_with: str = "") -> Path:
    """Write a judge of ``train`` to ``folder``; returns its file.

    Args:
        classifier: trained on ``train`` with the seed 0.
        train: the training data.
        folder: where the judges lie.
        made_with: what somebody who trains it again needs, such as the instruction set.
    """
    identity = classifier.identity()
    plain = "".join(c if c.isalnum() else "-" for c in train.name).strip("-")
    path = folder / f"{plain}-{_digest(identity)[:DIGITS]}.safetensors"
    kept = {"data": train.name, "data_fingerprint": fingerprint(train, seed=0), "identity": identity}
    save_tensors(path, dict(classifier.state_dict()), kept | ({"made_with": made_with} if made_with else {}))
    return path


def _digest(identity: str) -> str:
    return identity.rsplit(" ", 1)[1]


def _classifier(train: Data, tensors: dict[str, Tensor]) -> Classifier:
    classifier = Classifier(train.event_shape, train.condition.size)
    for name in ("shift", "scale"):
        classifier.register_buffer(name, tensors[name].clone())
    classifier.load_state_dict(tensors)
    return classifier.eval().requires_grad_(False)


def _verified(classifier: Classifier, promised: str, path: Path) -> Classifier:
    found = classifier.identity()
    if found != promised or not path.stem.endswith(f"-{_digest(promised)[:DIGITS]}"):
        raise CheckpointError(
            f"{path} is not the judge that it is named after: expected {promised}, got {found}; restore the "
            "committed file"
        )
    return classifier
