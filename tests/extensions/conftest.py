"""Fixtures of the tests of extensions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flowprior.errors import FlowpriorError
from tests.cli.conftest import call, run
from tests.pictures.conftest import show
from tests.words import words

__all__ = ["call", "run", "show", "words"]


@contextmanager
def refused(message: str, kind: type[FlowpriorError] = FlowpriorError) -> Iterator[None]:
    """Expect an error of one line that matches ``message``."""
    with pytest.raises(kind, match=message) as caught:
        yield
    assert "\n" not in str(caught.value)
