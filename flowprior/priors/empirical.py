"""Other data as the source: x0 is a row of a second data set that has the same condition."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.conditions.rows import as_value, flat
from flowprior.display.shown import shape_of
from flowprior.errors import CheckpointError, DataNotFoundError, FlowpriorError, InputError, OptionError
from flowprior.ops.last_results import LastResults
from flowprior.ops.operators import uniform
from flowprior.priors.base import Prior, event_rows
from flowprior.priors.holdout import condition_digests
from flowprior.priors.seen_conditions import SeenConditions
from flowprior.storage.digests import checked_file, file_sha256
from flowprior.streams.array_files import condition_in, read_arrays
from flowprior.streams.batches import CheckedBatches
from flowprior.streams.user_tensors import tensor_data

OWNER = "prior 'empirical'"


@Prior.register("empirical")
class EmpiricalPrior(Prior):
    """Rows of other data under the same condition, such as control cells, to translate without pairs.

    ``fit((x_source, cond))`` takes rows that you hold. It has no density. With the coupling ``ot`` within the
    condition, which ``train`` takes, the flow is an unpaired translation.

    Args:
        data: a ``.npz`` or ``.pt`` file of rows ``x`` and their conditions ``cond``, in place of the data
            that ``fit`` gets, whose conditions it must have. A saved prior holds its path, relative to the
            working directory, and its sha256; ``load`` reads the file again.
        keep: save the rows with the prior. **It then holds data**, as files and model cards say.
    """

    takes_events, has_density = True, False

    def __init__(self, data: str = "", keep: bool = False) -> None:
        super().__init__(SeenConditions(keep_centres=False))
        if data.startswith("~") or Path(data).is_absolute():
            raise OptionError(
                f"{OWNER}: expected data relative to the working directory, got {data}; a saved flow names it"
            )
        self.data, self.keep = data, keep
        # Rows [M, D], in the order of their conditions; a number for each condition [G], and its rows.
        self.rows = nn.Buffer(torch.empty(0), persistent=keep)
        self.keys = nn.Buffer(torch.empty(0, dtype=torch.long), persistent=keep)
        self.counts = nn.Buffer(torch.empty(0, dtype=torch.long), persistent=keep)
        self.center = nn.Buffer(torch.empty(0))  # mean of all rows, [D]
        self.sha256 = nn.Buffer(torch.zeros(32, dtype=torch.uint8))  # of the file
        self._means = LastResults()

    @torch.no_grad()
    def _fit(self, data: CheckedBatches, generator: torch.Generator | None) -> None:
        first, _ = data.peek()
        self.seen.learn(data, generator)
        if self.data:
            file = self._file()
            sha256 = file_sha256(file)
            self.sha256 = torch.tensor(list(bytes.fromhex(sha256))).to(self.sha256)
            self._read(file, sha256, first.shape[1:], first)
            for x, cond in data:
                self._places(cond, len(x))
            return
        batches = list(data)
        keys = [_keys(cond, len(x)) for x, cond in batches]
        self._keep_rows(torch.cat([x for x, _ in batches]).to(first), torch.cat(keys))

    def _file(self) -> Path:
        file = Path(self.data)
        if not file.is_file():
            raise DataNotFoundError(
                f"{OWNER}: no file {file} in {Path.cwd()}; data= is relative to the working directory"
            )
        return file

    def _read(self, file: Path, sha256: str, event: torch.Size, like: Tensor) -> None:
        """Take the rows of a file.

        Raises:
            InputError: a damaged file, one that changed since its digest was taken, or rows of another shape
                than those of the data.
        """
        stored = read_arrays(file)
        checked_file(file, sha256, OWNER)
        if "x" not in stored:
            raise InputError(f"{file}: expected an array x, got {', '.join(sorted(stored)) or 'nothing'}")
        found = tensor_data(stored["x"], condition_in(stored, str(file)), name=str(file))
        if found.event_shape != event:
            raise InputError(
                f"{file}: expected rows of shape {shape_of(event)}, as the data have, got "
                f"{shape_of(found.event_shape)}"
            )
        cond = self.reading(as_value(found.cond), "fit")
        keys = _keys(None if cond is None else flat(cond), len(found))
        self._keep_rows(event_rows(found.x).to(like), keys.to(like.device))

    def _keep_rows(self, rows: Tensor, keys: Tensor) -> None:
        """Put rows ``[M, D]`` in the order of the numbers ``keys`` ``[M]`` of their conditions."""
        keys, order = keys.sort(stable=True)
        self.keys, self.counts = keys.unique_consecutive(return_counts=True)
        self.rows = rows[order]
        self.center = self.rows.mean(0)

    def _places(self, cond: Tensor | None, n: int) -> Tensor:
        """Return the place of each condition in the tables, ``[n]``.

        Raises:
            InputError: a condition without rows.
        """
        keys = _keys(cond, n).to(self.keys.device).contiguous()
        places = torch.searchsorted(self.keys, keys).clamp_max(len(self.keys) - 1)
        absent = (self.keys[places] != keys).nonzero()[:, 0]
        if len(absent):
            one = (
                "" if cond is None or cond.is_floating_point() else f", such as label {int(cond[absent[0]])}"
            )
            raise InputError(
                f"empirical: expected source samples of every condition, got none of {len(absent)} of {n}"
                f"{one}; add rows with these conditions"
            )
        return places

    def _sample(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor:
        places = self._places(cond, n)
        count, begin = self.counts[places], (self.counts.cumsum(0) - self.counts)[places]
        chosen = (uniform(n, self.rows.device, generator) * count).long()
        return self.rows[begin + chosen.clamp_max(count - 1)]

    def _mean(self, cond: Tensor | None, n: int) -> Tensor:
        def means(rows: Tensor, counts: Tensor) -> Tensor:
            place = torch.arange(len(counts), device=rows.device).repeat_interleave(counts)
            return rows.new_zeros(len(counts), rows.shape[1]).index_add_(0, place, rows) / counts[:, None]

        return self._means.of(means, self.rows, self.counts)[self._places(cond, n)]

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        raise InputError("empirical.log_prob: single rows have no density; fit 'gmm' or 'latent-gmm' to them")

    def _log_prob_marginal(self, x: Tensor) -> Tensor:
        return self._log_prob(x, None)

    # -- what is saved --------------------------------------------------------------------------

    @property
    def kept_data(self) -> str:
        return f"{len(self.rows):,} source samples" if self.keep else ""

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        if self.is_fitted and not self.keep and not self.data:
            raise InputError(
                "empirical: its rows were given in memory and are not saved; give keep=true to save them, or "
                "data=FILE to name their file"
            )
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _make_parts(self, state_dict: Mapping[str, Tensor], prefix: str) -> None:
        names = ("sha256", "event_dims", "center")
        if self.keep or not all(prefix + name in state_dict for name in names):
            return
        sha256, event, center = (state_dict[prefix + name] for name in names)
        try:
            digest = bytes(sha256.tolist()).hex()
            self._read(self._file(), digest, torch.Size(event.tolist()), center)
        except FlowpriorError as error:
            raise CheckpointError(str(error)) from error


def _keys(cond: Tensor | None, n: int) -> Tensor:
    """Return a number for each condition ``[n]``: the label, a digest of an embedding ``[n, E]``, or −1."""
    if cond is None:
        return torch.full((n,), -1)
    return condition_digests(cond.float() + 0).to(cond.device) if cond.is_floating_point() else cond.long()
