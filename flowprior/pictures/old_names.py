"""Names of the last release: they draw and save in one call, and will be removed in the next."""

from __future__ import annotations

import warnings
from pathlib import Path

from torch import Tensor

from flowprior.pictures.beside import beside
from flowprior.pictures.grid import sample_grid
from flowprior.pictures.points import points
from flowprior.pictures.saving import save_figure


def save_picture(path: Path | str, x: Tensor, cond: Tensor | None = None) -> None:
    """Deprecated: ``save_figure(beside({"": (x, cond)}), path)``."""
    _warn("save_picture(path, x, cond)", 'save_figure(beside({"": (x, cond)}), path)')
    save_figure(beside({"": (x, cond)}), path)


def save_grid(path: Path | str, x: Tensor, cond: Tensor | None = None, *, columns: int | None = None) -> None:
    """Deprecated: ``save_figure(sample_grid(x, cond), path)``."""
    _warn("save_grid(path, x, cond)", "save_figure(sample_grid(x, cond), path)")
    save_figure(sample_grid(x, cond, columns=columns), path)


def save_scatter(
    path: Path | str, x: Tensor, cond: Tensor | None = None, *, real: Tensor | None = None
) -> None:
    """Deprecated: ``save_figure(points(x, cond, real=real), path)``."""
    _warn("save_scatter(path, x, cond)", "save_figure(points(x, cond), path)")
    save_figure(points(x, cond, real=real), path)


def _warn(old: str, new: str) -> None:
    warnings.warn(
        f"{old} goes with the next release; use {new} of flowprior.pictures",
        FutureWarning,
        stacklevel=3,
    )
