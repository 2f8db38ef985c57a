"""The conditions of samples: class labels, embeddings, tensors, token states, named parts of these, or none.

:class:`Condition` holds kind and size. A *value* has one row for each sample and is a tensor,
:class:`TokenStates` or :class:`Parts`; the functions on rows take any of these, and None.
"""

from flowprior.conditions.condition import Condition
from flowprior.conditions.values import Conditions, Parts, TokenStates

__all__ = ["Condition", "Conditions", "Parts", "TokenStates"]
