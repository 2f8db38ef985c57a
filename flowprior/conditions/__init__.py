"""What a condition is: class labels, embeddings, token states, several named parts of these, or nothing.

:class:`Condition` says which kind and size; a *value* of it has one row for each sample: a tensor,
:class:`TokenStates`, or :class:`Parts`. The functions on rows take any of them, and None.
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
