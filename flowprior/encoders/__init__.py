"""Text encoders: captions to embeddings, by weights that lie on this machine."""

from flowprior.encoders.text_models import ClipTextEncoder, HuggingFaceEncoder, MiniLMEncoder

__all__ = [
    "ClipTextEncoder",
    "HuggingFaceEncoder",
    "MiniLMEncoder",
]
