"""What the documentation's own extensions make of a small project: equations without a network, an index."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.markdown_blocks import REPOSITORY

CONFIGURATION = f"""
import sys
sys.path.insert(0, {str(REPOSITORY / "docs" / "extensions")!r})
extensions = ["myst_parser", "sphinx.ext.autodoc", "api_index", "mathml"]
myst_enable_extensions = ["dollarmath"]
html_math_renderer = "mathml"
html_theme = "basic"
"""
INDEX = """# Index

An equation $v_c$, and one on a line of its own:

$$\\frac{2t - 1}{(1-t)^2}$$

```{toctree}
paths
```

```{api-index}
```
"""
PATHS = """# flowprior.paths

```{eval-rst}
.. automodule:: flowprior.paths
   :members:
```
"""


def build(folder: Path, index: str = INDEX) -> tuple[int, str, str]:
    """Exit status, what was said, and the built first page."""
    pytest.importorskip("myst_parser", reason="the docs extra is not installed")
    for name, text in {"conf.py": CONFIGURATION, "index.md": index, "paths.md": PATHS}.items():
        (folder / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(folder), str(folder / "html")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    page = folder / "html" / "index.html"
    return run.returncode, run.stderr, page.read_text(encoding="utf-8") if page.exists() else ""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    status, said, text = build(tmp_path_factory.mktemp("project"))
    assert status == 0, said
    return text


def test_equations_are_mathml_that_no_script_has_to_draw(page: str) -> None:
    assert "<mfrac>" in page
    assert page.count("<math ") == 2
    assert "jsdelivr" not in page
    assert '<script src="http' not in page


def test_the_index_links_every_public_name_to_its_page_with_one_line(page: str) -> None:
    from flowprior import paths

    for name in paths.__all__:
        assert f'href="paths.html#flowprior.paths.{name}"' in page
    assert "Straight path x_t = t x1 + (1 − (1 − σ_min) t) x0" in page


def test_an_equation_that_is_not_known_is_a_warning(tmp_path: Path) -> None:
    status, said, _ = build(tmp_path, INDEX.replace("\\frac", "\\nosuchthing"))
    assert status != 0
    assert "nosuchthing" in said
