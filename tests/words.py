"""A text encoder without weights, for tests: a fixed vector for each word, summed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from flowprior.models import Encoder, TextEncoder
from flowprior.models.encoders import TextEncoding


class WordEncoder(TextEncoder):
    """Sums of vectors that depend on each word alone; two texts of different words differ.

    Args:
        size: numbers of an embedding.
    """

    def __init__(self, size: int = 6) -> None:
        self._size = size
        self.calls: list[list[str]] = []
        self._known: dict[str, Tensor] = {}

    @property
    def size(self) -> int:
        return self._size

    @property
    def token_size(self) -> int:
        return self._size

    def identity(self) -> str:
        return f"words of {self._size} numbers"

    def _encode(self, texts: list[str]) -> TextEncoding:
        self.calls.append(texts)
        states = [torch.stack([self._vector(word) for word in ["", *text.split()]]) for text in texts]
        tokens = torch.nn.utils.rnn.pad_sequence(states, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence(
            [torch.ones(len(state), dtype=torch.bool) for state in states], batch_first=True
        )
        return TextEncoding(torch.stack([state.sum(0) for state in states]), tokens, mask)

    def _vector(self, word: str) -> Tensor:
        if word not in self._known:
            self._known[word] = self._drawn(word)
        return self._known[word]

    def _drawn(self, word: str) -> Tensor:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:7], "big")
        return torch.randn(self._size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[WordEncoder]]:
    """The encoder under the name ``words``, for one test."""
    monkeypatch.setattr(Encoder.registry, "_records", dict(Encoder.registry._records))
    Encoder.register("words")(WordEncoder)
    return WordEncoder
