"""The pages for those who come from a peer name everything public that the peer has."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator

import pytest

from tests.markdown_blocks import REPOSITORY

PEERS = {
    "torchcfm": (
        "torchcfm.conditional_flow_matching",
        "torchcfm.optimal_transport",
        "torchcfm.models",
    ),
    "flow_matching": (
        "flow_matching.path",
        "flow_matching.path.scheduler",
        "flow_matching.solver",
        "flow_matching.loss",
        "flow_matching.utils",
        "flow_matching.utils.manifolds",
    ),
    "zuko": ("zuko.distributions", "zuko.mixtures", "zuko.flows", "zuko.lazy"),
}
METHODS = ("AffineProbPath", "ConditionalFlowMatcher", "OTPlanSampler", "ODESolver")
"""Classes of which the methods overlap with ours, too."""


def public(module_name: str) -> Iterator[str]:
    """Names of the classes and functions of a module of the peer, and of the methods of some."""
    module = importlib.import_module(module_name)
    for name, found in vars(module).items():
        own = getattr(found, "__module__", "").startswith(module_name)
        if name.startswith("_") or not own or not (inspect.isclass(found) or inspect.isfunction(found)):
            continue
        yield name
        if name in METHODS:
            yield from (method for method in vars(found) if not method.startswith("_"))


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    return request.param


def page_of(peer: str) -> str:
    return f"from-{peer.replace('_', '-')}"


def test_the_page_names_every_class_and_function_of_the_peer(peer: str) -> None:
    text = (REPOSITORY / "docs" / f"{page_of(peer)}.md").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", text))
    names = {name for module in PEERS[peer] for name in public(module)}
    assert len(names) > 5
    assert names <= words, f"not on the page: {sorted(names - words)}"


def test_every_argument_of_the_pairing_of_torchcfm_is_on_its_page() -> None:
    transport = pytest.importorskip("torchcfm.optimal_transport")
    text = (REPOSITORY / "docs" / "from-torchcfm.md").read_text(encoding="utf-8")
    arguments = set(inspect.signature(transport.OTPlanSampler.__init__).parameters) - {"self"}
    assert all(f"`{name}" in text or f"({name}" in text for name in arguments)


def test_every_argument_of_the_solver_of_flow_matching_is_on_its_page() -> None:
    solver = pytest.importorskip("flow_matching.solver")
    words = set(
        re.findall(r"\w+", (REPOSITORY / "docs" / "from-flow-matching.md").read_text(encoding="utf-8"))
    )
    arguments = set(inspect.signature(solver.ODESolver.sample).parameters) - {"self"}
    assert arguments <= words
