"""Both back ends in one run."""

from __future__ import annotations

import pytest

from flowprior.ops import operators


@pytest.fixture(params=["native", "torch"])
def back_end(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Operators as they were built, then in plain torch."""
    if request.param == "torch":
        monkeypatch.setattr(operators, "_native_devices", frozenset())
    return request.param
