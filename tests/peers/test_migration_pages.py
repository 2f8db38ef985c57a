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
ARGUMENTS = {
    "torchcfm": ("torchcfm.optimal_transport", "OTPlanSampler", "__init__"),
    "flow_matching": ("flow_matching.solver", "ODESolver", "sample"),
}
"""Calls whose arguments are on the page, too."""
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


@pytest.mark.parametrize("peer", PEERS)
def test_the_page_names_every_class_and_function_of_the_peer(peer: str) -> None:
    pytest.importorskip(peer, reason=f"{peer} is not installed")
    page = REPOSITORY / "docs" / f"from-{peer.replace('_', '-')}.md"
    words = set(re.findall(r"\w+", page.read_text(encoding="utf-8")))
    names = {name for module in PEERS[peer] for name in public(module)}
    if peer in ARGUMENTS:
        module, owner, method = ARGUMENTS[peer]
        call = getattr(getattr(importlib.import_module(module), owner), method)
        names |= set(inspect.signature(call).parameters) - {"self"}
    assert len(names) > 5
    assert names <= words, f"not on the page: {sorted(names - words)}"
