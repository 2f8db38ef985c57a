"""Vectors written as an annotated matrix (.h5ad): samples in the units and under the names of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from flowprior.conditions import Conditions, named_tensors
from flowprior.data.annotated_file import import_anndata, numbered
from flowprior.data.base import Annotation
from flowprior.storage import replacing

ENDING = ".h5ad"
CONDITION = "cond"
"""What labels are called where the data have no name for them, as in an .npz of samples."""


def write_cells(
    path: Path,
    x: Tensor,
    cond: Conditions | None,
    annotation: Annotation | None,
    class_names: Sequence[str] = (),
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write events ``[N, D]`` as X, with the names of the numbers in ``var`` and labels by name in ``obs``.

    They are in the units of the file that the data came from, and once more in ``obsm`` under its key, where
    it has them there, so that they can be put beside the data. Embeddings go to ``obsm``.

    Args:
        path: of the file.
        x: events, as a flow makes them.
        cond: their condition, or None.
        annotation: of the data; None numbers the columns, and leaves x as it is.
        class_names: of the labels; numbers where there are none.
        notes: keyword -> text, kept in ``uns["flowprior"]``.

    Raises:
        DataNotFoundError: anndata is not installed.
        CheckpointError: the file cannot be written.
    """
    anndata = import_anndata("writing")
    import pandas

    annotation = annotation or Annotation("X", numbered("x", x.shape[1]))
    stored = annotation.stored(x).numpy()
    columns, obsm = _of_condition(cond, annotation.label, class_names)
    if annotation.key.startswith("X_"):
        obsm[annotation.key] = stored
    rows = pandas.Index([f"sample{number}" for number in range(1, len(x) + 1)])
    var = pandas.DataFrame(index=pandas.Index(list(annotation.names)))
    about = {"flowprior": dict(notes or {})}
    obs = pandas.DataFrame(columns, index=rows)
    annotated = anndata.AnnData(stored, obs=obs, var=var, obsm=obsm, uns=about)
    with replacing(path, keep_suffix=True) as temporary:
        annotated.write_h5ad(temporary)


def _of_condition(
    cond: Conditions | None, label: str | None, class_names: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Columns of ``obs``, labels, and arrays of ``obsm``, everything else, by name."""
    import pandas

    columns, arrays = {}, {}
    for name, tensor in named_tensors(cond).items():
        values = tensor.detach().cpu().numpy()
        if values.ndim > 1 or tensor.is_floating_point():
            arrays[name] = values.reshape(len(values), -1)
        elif name == CONDITION and class_names:
            columns[label or name] = pandas.Categorical([class_names[label] for label in values])
        else:
            columns[(label or name) if name == CONDITION else name] = values
    return columns, arrays
