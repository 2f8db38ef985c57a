"""A search for training data in the tensors that a prior keeps: verbatim, or after the best affine map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

EXACT = 1e-3
"""The largest difference of a number from the one that is looked for, in standard deviations."""
ROUNDS = 8
"""Times that rows are matched and the affine map is fitted again."""


def verbatim(tensors: Iterable[Tensor], rows: Tensor) -> int:
    """Return how many of ``rows`` ``[n, W]`` lie in some tensor, in W numbers one after the other."""
    rows = rows.double()
    found = torch.zeros(len(rows), dtype=torch.bool)
    for tensor in tensors:
        for flat in {tensor.numel(): tensor.flatten(), -1: tensor.movedim(0, -1).flatten()}.values():
            found |= _in_flat(flat.double(), rows)
    return int(found.sum())


def _in_flat(flat: Tensor, rows: Tensor) -> Tensor:
    found, width = torch.zeros(len(rows), dtype=torch.bool), rows.shape[1]
    if len(flat) < width:
        return found
    windows, least = flat.unfold(0, width, 1), EXACT * float(rows.std())
    row, place = ((windows[:, 0] - rows[:, :1]).abs() < least).nonzero(as_tuple=True)
    same = ((windows[place] - rows[row]).abs() < least).all(1)
    found[row[same]] = True
    return found


def affine(tensors: Iterable[Tensor], rows: Tensor) -> int:
    """Return how many of ``rows`` ``[n, W]`` an affine map of the rows of one tensor gives, at the most.

    The map is fitted by least squares to rows that are matched by their places along principal axes, then by
    distance. Tensors that have too few rows to tell a map from chance are left out.
    """
    rows = rows.double()
    return max((_mapped(table, rows) for tensor in tensors for table in _tables(tensor, rows)), default=0)


def _tables(tensor: Tensor, rows: Tensor) -> Iterator[Tensor]:
    """Views ``[M, F]`` of a tensor as rows that are wide enough to be mapped onto those looked for."""
    width = rows.shape[1]
    shapes = {tensor.shape[-1], width} if tensor.numel() > 1 else set()
    views = [tensor.reshape(-1, size) for size in shapes if size and tensor.numel() % size == 0]
    views += [tensor.T] if tensor.dim() == 2 and tensor.numel() > 1 else []
    for view in views:
        table = view.double().unique(dim=0)
        if table.shape[1] >= width and len(table) > 4 * (table.shape[1] + 1):
            yield table


def _mapped(table: Tensor, rows: Tensor) -> int:
    starts = ((_scaled(table), _scaled(rows)), (_white(table), _white(rows)))
    matches = [torch.cdist(start[:, : rows.shape[1]], aim).min(1) for start, aim in starts]
    with_one = torch.cat([table, torch.ones(len(table), 1).double()], 1)
    for _ in range(ROUNDS):
        matches = [_matched(with_one, rows, place) for _, place in matches]
    least = 10 * EXACT * float(rows.std())
    return max(len(place[distance < least].unique()) for distance, place in matches)


def _matched(table: Tensor, rows: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Map ``table`` onto ``rows[place]``: distances to the nearest rows, and their places, ``[M]`` each."""
    off = (table @ _least_squares(table, rows[place]) - rows[place]).square().sum(1)
    near = off <= off.quantile(0.6)  # the better matches alone decide about the map
    distance, place = torch.cdist(table @ _least_squares(table[near], rows[place[near]]), rows).min(1)
    return distance, place


def _least_squares(inputs: Tensor, targets: Tensor) -> Tensor:
    return torch.linalg.lstsq(inputs, targets, driver="gelsd").solution


def _scaled(rows: Tensor) -> Tensor:
    return (rows - rows.mean(0)) / rows.std(0).clamp_min(1e-12)


def _white(rows: Tensor) -> Tensor:
    """Principal coordinates of unit variance, widest first, each of positive skewness."""
    left = torch.linalg.svd(rows - rows.mean(0), full_matrices=False).U * len(rows) ** 0.5
    return left * torch.where(left.pow(3).mean(0) < 0, -1.0, 1.0)
