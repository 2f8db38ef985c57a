"""The digits, their classifier and the tiny flow of the evaluation's tests."""

from tests.evaluation.conftest import classifier, digits, tiny_flow  # noqa: F401
