"""Warnings of flowprior that tests cause on purpose, as marks: they train briefly, on few examples."""

from __future__ import annotations

import pytest

FEW_EXAMPLES = pytest.mark.filterwarnings(
    r"ignore:\S+\.fit. (label|each of labels) .* (one example|fewer examples):RuntimeWarning"
)
FEW_REFERENCES = pytest.mark.filterwarnings("ignore:evaluate. expected 100 or more examples:RuntimeWarning")
