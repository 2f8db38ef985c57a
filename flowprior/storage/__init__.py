"""The files of flows and runs: renamed into place when complete, read within bounds, never unpickled.

Tensors go to safetensors files with a checksum; training states (optimiser, running means, step) go to
``torch.save`` files that are only read with ``weights_only=True``. Files that belong together are bound by
their digests. A damaged file raises a :class:`flowprior.errors.CheckpointError` of one line.

Only ``digests`` and ``tensor_files`` import torch, so that texts are read and written without it.
"""
