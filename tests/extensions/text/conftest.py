"""Two tiny text models in folders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flowprior.models import Encoder, TextEncoder
from tests.text_models import save_bert, save_clip


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("models") / "clip")


@contextmanager
def in_place_of_minilm(encoder: type[TextEncoder]) -> Iterator[None]:
    """Put an encoder without weights under the name of the one that data take by default."""
    records = {name: record for name, record in Encoder.registry._records.items() if name != "minilm"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Encoder.registry, "_records", records)
        Encoder.register("minilm")(encoder)
        yield
