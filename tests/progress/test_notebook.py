"""In the kernel of a notebook: progress is one line that is replaced, and results are plain tables."""

from __future__ import annotations

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


@pytest.mark.slow
def test_a_notebook_shows_lines_and_tables_without_ipywidgets() -> None:
    cells = [nbformat.v4.new_code_cell(text) for text in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    _, training, (*progress, result), (shown,), (widgets,) = (cell.outputs for cell in notebook.cells)
    assert {output.name for output in training} == {"stderr"}
    written = "".join(output.text for output in training)
    assert written.count("\n") == 1
    assert written.rsplit("\r", 1)[1].startswith("train: 100%")
    assert "300/300" in written
    assert "2/2" in "".join(output.text for output in progress)
    assert result.data["text/plain"].startswith("Result of gmm + condot, NFE 0, 2")
    assert result.data["text/html"].count("<table>") == 2
    assert "w2_squared</th>" in result.data["text/html"]
    assert "prior &#x27;gmm&#x27;" in shown.data["text/html"]
    assert "network: MLP" in shown.data["text/plain"]
    assert widgets.data["text/plain"] == "[]"
