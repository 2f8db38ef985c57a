"""The conditions of samples: class labels, embeddings, tensors, token states, named parts of these, or none.

:class:`Condition` holds kind and size. A *value* has one row for each sample and is a tensor,
:class:`TokenStates` or :class:`Parts`; the functions on rows take any of these, and None.
"""

from flowprior.conditions.condition import MOST_LABELS, Condition, Kind
from flowprior.conditions.rows import (
    BETWEEN,
    choose_parts,
    chosen,
    embeddings_in,
    equal,
    flat,
    joined,
    label_groups,
    labels_in,
    moved,
    named_tensors,
    numbers_in,
    pieces,
    pinned,
    read_part,
    repeated,
    rows,
    value_of_tensors,
)
from flowprior.conditions.values import Conditions, Parts, TokenStates, as_value, describe_value, kind_of

__all__ = [
    "BETWEEN",
    "MOST_LABELS",
    "Condition",
    "Conditions",
    "Kind",
    "Parts",
    "TokenStates",
    "as_value",
    "choose_parts",
    "chosen",
    "describe_value",
    "embeddings_in",
    "equal",
    "flat",
    "joined",
    "kind_of",
    "label_groups",
    "labels_in",
    "moved",
    "named_tensors",
    "numbers_in",
    "pieces",
    "pinned",
    "read_part",
    "repeated",
    "rows",
    "value_of_tensors",
]
