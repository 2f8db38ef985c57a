"""A setting of an experiment: prior, coupling, path and prediction by name, or a peer in their place."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.studies.peers import PEERS, train_peer
from flowprior.data import Data
from flowprior.flow import Flow
from flowprior.priors import Prior
from flowprior.training import train


@dataclass(frozen=True)
class Setting:
    """What differs between two cells of one experiment; everything else is equal.

    Attributes:
        prior: where the flow starts.
        coupling: which start belongs to which datum.
        path: how they are joined.
        prediction: what the network gives.
        sampler: what its figures are taken with, unless an experiment says otherwise.
        peer: library whose pairs and targets take the place of ours; "" for none.
    """

    prior: str = "gaussian"
    coupling: str = "condot"
    path: str = "condot"
    prediction: str = "velocity"
    sampler: str = "euler"
    peer: str = ""

    def as_dict(self) -> dict[str, str]:
        """The setting as plain values."""
        return asdict(self)

    def train(
        self, data: Data, *, seed: int, out: Path | None = None, fitted: Prior | None = None, **budget: Any
    ) -> Flow:
        """Train on ``data``; with ``out`` the run resumes, with ``fitted`` the prior is that one."""
        if self.peer:
            return train_peer(PEERS[self.peer](), data, seed=seed, out=out, **budget)
        return train(
            data,
            prior=self.prior if fitted is None else fitted,
            coupling=self.coupling,
            path=self.path,
            prediction=self.prediction,
            out=out,
            resume=out is not None,
            seed=seed,
            **budget,
        )


CONDOT = Setting()
BATCH_OT = Setting(coupling="ot:condition=ignore")
DDPM = Setting(path="vp", prediction="epsilon", sampler="ancestral")
BASELINES = {"gaussian+condot": CONDOT, "gaussian+batchot": BATCH_OT, "ddpm": DDPM}
"""The paper's baselines: CondOT, BatchOT (across labels) and DDPM."""
