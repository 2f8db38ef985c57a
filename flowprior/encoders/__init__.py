"""Encoders: captions to embeddings, by weights that lie on this machine."""

from flowprior.encoders.base import Encoder
from flowprior.encoders.clip import ClipTextEncoder
from flowprior.encoders.hugging_face import HuggingFaceEncoder
from flowprior.encoders.minilm import MiniLMEncoder
from flowprior.encoders.text import TextEncoder, TextEncoding

__all__ = [
    "ClipTextEncoder",
    "Encoder",
    "HuggingFaceEncoder",
    "MiniLMEncoder",
    "TextEncoder",
    "TextEncoding",
]
