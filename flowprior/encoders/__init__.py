"""Encoders: captions to embeddings, by weights that lie on this machine."""

from flowprior.encoders.base import Encoder

__all__ = ["Encoder"]
