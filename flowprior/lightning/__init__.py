"""A flow in a trainer of Lightning's: prior, coupling, path, prediction and network as one module.

Needs the package ``lightning`` or ``pytorch_lightning`` (extra ``lightning``); nothing else of flowprior
imports this room.
"""

from flowprior.lightning.batches import TrainingBatches
from flowprior.lightning.module import FlowModule

__all__ = ["FlowModule", "TrainingBatches"]
