"""What the tree on ``PYTHONPATH`` computes, by its public doors alone; started by :mod:`tests.values`.

``python -P tests/values_of_tree.py FILE`` writes an ``.npz`` of one array for each "components: quantity".
It has to run in trees that are older or newer than itself, so it imports nothing from the tests.
"""

from __future__ import annotations

import copy
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path as FilePath
from typing import Any, TypeVar

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import flowprior
from flowprior import Coupling, Flow, Path, Prior, Sampler, evaluate, train
from flowprior.errors import FlowpriorError
from flowprior.training import Callback

T = TypeVar("T")
Values = dict[str, Any]

PREDICTIONS = ("velocity", "residual", "preconditioned", "average-velocity", "epsilon")
MAPPER = "learned-mean:epochs=2,hidden=8,depth=1"
QUICK = {
    "learned-mean": MAPPER,
    "flow": "flow:steps=5,hidden=8,transforms=1,rank=4",
    "vae": "vae:latent=3,width=4,steps=10,importance=16",
    "semidiscrete": "semidiscrete:passes=4,batch=128",
}
"""The specs of priors and couplings that take long with their own options."""
VARIANTS = (
    *("gaussian:moments=scalar", "gaussian:moments=diagonal", "gmm:components=2", "gmm:unseen=pooled"),
    *(f"gmm:covariance={kind},rank=2" for kind in ("spherical", "full", "tied", "lowrank")),
    f"{MAPPER},covariance=diagonal,steps=20",
    f"{MAPPER},covariance=lowrank,rank=2,components=2,steps=20",
    *(
        "flow:steps=5,hidden=8,transforms=1,rank=2,kind=spline",
        "kernel-mean:sigma=diagonal",
        "latent-gmm:law=averaged-gmm",
    ),
)
"""Specs whose fits are compared, without a training."""
SOLVED = ("gaussian", "latent-gmm")
"""The priors that are trained on every path with the coupling ``condot``, and sampled with every sampler."""
MEASURED = "prior gmm, coupling condot, path condot, prediction velocity"
"""The flow that all metrics are computed of; of the others it is two."""
TRAINING = {"steps": 10, "batch_size": 32, "lr": 0.01, "log_every": 1, "device": "cpu", "progress": False}
ROWS, CLASSES = 120, 4
LABELS = torch.arange(12) % CLASSES


class Losses(Callback):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        self.values.append(values["loss"])


class Combinations:
    """Fits every prior, and trains a short flow of every combination that is valid."""

    def __init__(self) -> None:
        found = load_digits()
        rows = (found.target < CLASSES).nonzero()[0][:ROWS]
        self.x = torch.tensor(found.images[rows, None], dtype=torch.float32) / 8 - 1
        self.labels = torch.tensor(found.target[rows])
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(64, 6))

    def all(self) -> Iterator[Values]:
        """Yield what was found, one component or combination after the other."""
        for name in Prior.available():
            prior = self.fitted(QUICK.get(name, name))
            yield self.of_prior(f"prior {name}", prior)
            for coupling in Coupling.available():
                paths = Path.available() if name in SOLVED and coupling == "condot" else ["condot"]
                for path, prediction in product(paths, PREDICTIONS):
                    yield self.of_combination(name, prior, coupling, path, prediction)
        for spec in VARIANTS:
            yield self.of_prior(f"variant {spec}", self.fitted(spec))

    def fitted(self, spec: str) -> Prior | None:
        """Return a fitted prior; None if its options are refused."""
        return taken(lambda: Prior.create(spec).fit((self.x, self.labels), generator=seeded()))

    def of_prior(self, title: str, prior: Prior | None) -> Values:
        """Return mean, samples and log-densities."""
        if prior is None:
            return {}
        densities = {}
        if getattr(prior, "has_density", True):
            densities = {f"{title}: log-densities": prior.log_prob(self.x[:20], self.labels[:20])}
        return densities | {
            f"{title}: mean": prior.mean(LABELS),
            f"{title}: samples": prior.sample(LABELS, generator=seeded()),
            f"{title}: marginal samples": prior.sample_marginal(12, generator=seeded()),
        }

    def of_combination(self, name: str, prior: Any, coupling: str, path: str, prediction: str) -> Values:
        """Return losses, samples, log-densities and metrics; nothing if the combination is refused."""
        losses, paired = Losses(), QUICK.get(coupling, coupling)
        parts = {"prior": copy.deepcopy(prior), "coupling": paired, "path": path, "prediction": prediction}
        options = {**parts, **TRAINING, "model": "mlp:width=16,depth=1", "callbacks": [losses]}
        flow = taken(lambda: train((self.x, self.labels), **options))
        if flow is None:
            return {}
        title = f"prior {name}, coupling {coupling}, path {path}, prediction {prediction}"
        found = {f"{title}: losses": losses.values, f"{title}: samples": sampled(flow)}
        found |= {f"{title}: log-densities": taken(lambda: self.log_densities(flow))}
        if name in SOLVED and coupling == "condot":
            for sampler in Sampler.available():
                found[f"{title}, sampler {sampler}: samples"] = solved(flow, sampler)
        return {key: value for key, value in found.items() if value is not None} | self.metrics(flow, title)

    def log_densities(self, flow: Flow) -> Tensor:
        options: dict[str, Any] = {"divergence": "hutchinson", "rtol": 1e-2, "atol": 1e-2}
        return flow.log_prob(self.x[:10], self.labels[:10], generator=seeded(), **options)

    def metrics(self, flow: Flow, title: str) -> Values:
        """Return the values of the metrics, without the seconds of the sampling."""
        metrics: Any = "all" if title == MEASURED else ["fid", "w2"]
        options: dict[str, Any] = {"nfe": [0, 6], "samples": 100, "classifier": None, "progress": False}
        data = self.x, self.labels
        rows = evaluate(flow, data, metrics=metrics, features=[self.features], **options).rows
        rows = [row for row in rows if row["metric"] != "seconds"]
        return {f"{title}: {row['metric']} at NFE {row['nfe']}": row["value"] for row in rows}


def taken(compute: Callable[[], T]) -> T | None:
    """Return what is computed; None if the library refuses it."""
    try:
        return compute()
    except FlowpriorError:
        return None


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def sampled(flow: Flow, **options: Any) -> Tensor:
    return flow.sample(LABELS, generator=seeded(), **{"nfe": 6, **options})


def solved(flow: Flow, sampler: str) -> Tensor | None:
    adaptive = getattr(Sampler.create(sampler), "adaptive", False)
    return taken(lambda: sampled(flow, sampler=sampler, nfe=None if adaptive else 6))


def main(target: str) -> None:
    """Write what this tree computes to the file ``target``.

    Raises:
        RuntimeError: the package of another tree was imported.
    """
    if not FilePath(flowprior.__file__).is_relative_to(os.environ["PYTHONPATH"]):
        raise RuntimeError(f"expected flowprior of {os.environ['PYTHONPATH']}, got {flowprior.__file__}")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found: Values = {}
    for values in Combinations().all():
        found |= values
    arrays = {name: torch.as_tensor(value).detach().double().numpy() for name, value in found.items()}
    np.savez(target, **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
