"""The digits and their classifier of the evaluation's tests."""

from tests.evaluation.conftest import classifier, digits  # noqa: F401
