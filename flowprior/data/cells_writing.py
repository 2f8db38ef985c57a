"""Vectors written as an annotated matrix (.h5ad): samples in the units and under the names of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from flowprior.conditions import Conditions, named_tensors
from flowprior.data.annotated_file import import_anndata, numbered
from flowprior.data.annotation import Annotation
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

    They are in the units of the file that the data came from, and once more in ``obsm`` under its key, where it
    has them there, so that they can be put beside the data. Embeddings go to ``obsm``.

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
    rows = pandas.Index([f"sample{number}" for number in range(1, len(x) + 1)])
    obs, obsm = pandas.DataFrame(index=rows), {}
    for name, tensor in named_tensors(cond).items():
        values = tensor.detach().cpu().numpy()
        if values.ndim == 1 and not tensor.is_floating_point():
            named = name == CONDITION and class_names
            column = (annotation.label or name) if name == CONDITION else name
            obs[column] = pandas.Categorical.from_codes(values, list(class_names)) if named else values
        else:
            obsm[name] = values.reshape(len(values), -1)
    if annotation.key.startswith("X_"):
        obsm[annotation.key] = stored
    var = pandas.DataFrame(index=pandas.Index(list(annotation.names)))
    about = {"flowprior": dict(notes or {})}
    annotated = anndata.AnnData(stored, obs=obs, var=var, obsm=obsm, uns=about)
    with replacing(path, keep_suffix=True) as temporary:
        annotated.write_h5ad(temporary)
