"""In the kernel of a notebook: progress is one line that is replaced, and results are plain tables."""

from __future__ import annotations

from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

CELLS = (
    "import torch, flowprior, warnings; warnings.simplefilter('ignore')\n"
    "x, c = torch.randn(300, 2), torch.arange(300) % 3",
    "flow = flowprior.train((x, c), prior='gmm', coupling='condot', model='mlp', steps=300, warmup=9)",
    "flowprior.evaluate(flow, (x, c), nfe=[0, 2], samples=100)",
    "flow",
    "import sys; [name for name in sys.modules if name.startswith('ipywidgets')]",
)


@pytest.fixture(scope="module")
def outputs() -> list[list[Any]]:
    """The outputs of each cell, as the notebook keeps them."""
    cells = [nbformat.v4.new_code_cell(text) for text in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return [cell.outputs for cell in notebook.cells]


@pytest.mark.slow
def test_training_shows_one_line_that_ends_at_the_last_step(outputs: list[list[Any]]) -> None:
    assert {output.name for output in outputs[1]} == {"stderr"}
    written = "".join(output.text for output in outputs[1])
    assert written.count("\n") == 1
    assert written.rsplit("\r", 1)[1].startswith("train: 100%")
    assert "300/300" in written


@pytest.mark.slow
def test_an_evaluation_shows_one_line_and_its_table(outputs: list[list[Any]]) -> None:
    *progress, result = outputs[2]
    assert "2/2" in "".join(output.text for output in progress)
    assert result.data["text/plain"].startswith("Result of gmm + condot, NFE 0, 2")
    assert result.data["text/html"].count("<table>") == 2
    assert "w2_squared</th>" in result.data["text/html"]


@pytest.mark.slow
def test_a_flow_is_a_table_of_its_parts(outputs: list[list[Any]]) -> None:
    (shown,) = outputs[3]
    assert "prior &#x27;gmm&#x27;" in shown.data["text/html"]
    assert "network: MLP" in shown.data["text/plain"]


@pytest.mark.slow
def test_nothing_asks_for_ipywidgets(outputs: list[list[Any]]) -> None:
    assert outputs[4][0].data["text/plain"] == "[]"
