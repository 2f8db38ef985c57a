"""Which implementation of the operators runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Backend:
    """Name of the running implementation and the reason it was chosen."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def backend() -> Backend:
    """The running backend: pure torch, as this version of flowprior has no native extension yet."""
    return Backend("torch", "this version has no native extension; every operator runs in pure torch")
