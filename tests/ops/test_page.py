"""The example on the operators' page runs."""

from __future__ import annotations

from tests.markdown_blocks import REPOSITORY, blocks, run_python


def test_the_pages_example_runs():
    page = REPOSITORY / "docs" / "api" / "ops.md"
    assert blocks(page, "python")
    run_python(page)
