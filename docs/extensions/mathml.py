"""Equations as MathML, written by docutils at build time: a browser draws them without script or network."""

from __future__ import annotations

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

LOGGER = logging.getLogger(__name__)


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    """An equation in the line."""
    self.body.append(f'<span class="math">{_mathml(node, as_block=False)}</span>')
    raise nodes.SkipNode


def visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """An equation on a line of its own, with its number where it has one."""
    self.body.append(self.starttag(node, "div", CLASS="math"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})</span>')
    self.body.append(f"{_mathml(node, as_block=True)}</div>\n")
    raise nodes.SkipNode


def _mathml(node: nodes.Element, *, as_block: bool) -> str:
    """MathML of the node's LaTeX; what docutils does not know is warned of, and shown as it was written."""
    latex = node.astext()
    try:
        return tex2mathml(latex, as_block=as_block)
    except MathError as error:
        LOGGER.warning("equation %r: %s", latex, error, location=node)
        return f"<code>{latex}</code>"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer ``mathml``; ``html_math_renderer`` in conf.py chooses it."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
