"""The command ``flowprior list``: components with their options, defaults and meanings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowprior.cli.catalogue import FAMILIES, catalogue, names_of
from flowprior.cli.commands import print_json, print_rich
from flowprior.cli.options import Json
from flowprior.errors import OptionError
from flowprior.registry.options import did_you_mean, plain

if TYPE_CHECKING:
    from rich.console import RenderableType

LONGEST = 30
"""The largest width of the column of options and their defaults, in characters."""


def _families(incomplete: str) -> list[str]:
    return [family for family in FAMILIES if family.startswith(incomplete)]


def _components(ctx: typer.Context, incomplete: str) -> list[str]:
    word = ctx.params.get("family") or ""
    families = [family for family in FAMILIES if family in (word, f"{word}s")]
    return [name for family in families for name in names_of(family) if name.startswith(incomplete)]


def list_components(
    family: Annotated[
        str | None,
        typer.Argument(
            metavar=f"[{'|'.join(FAMILIES)}]",
            help="Family of components to list; all families by default.",
            show_default=False,
            autocompletion=_families,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="A single component, such as gmm, with the full explanation of its options.",
            show_default=False,
            autocompletion=_components,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List components and explain their options, plug-ins included."""
    found = catalogue(FAMILIES if family is None else [_family(family)], name)
    if json:
        print_json(found)
        return
    for of, components in found.items():
        print_rich(*_renderables(of, components, whole=name is not None))


def _family(word: str) -> str:
    """Return the family of a name, in singular or plural.

    Raises:
        OptionError: no family of that name.
    """
    for family in (word, f"{word}s"):
        if family in FAMILIES:
            return family
    homes = [f"; did you mean 'flowprior list {of} {word}'?" for of in FAMILIES if word in names_of(of)]
    near = homes[0] if homes else did_you_mean(word, list(FAMILIES))
    raise OptionError(f"list: no family '{word}'{near} there are {', '.join(FAMILIES)}")


def _renderables(family: str, components: list[dict[str, Any]], whole: bool) -> Iterator[RenderableType]:
    """Yield the components of a family; unless ``whole``, meanings are cut to their first sentence."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    yield Text(family, "bold underline")
    for component in components:
        also = f"  (also {', '.join(component['aliases'])})" if component["aliases"] else ""
        yield Text.assemble("\n  ", (component["name"], "bold"), (also, "dim"))
        yield Padding(plain(component["description"]), (0, 0, 0, 4))
        options = Table.grid(padding=(0, 2))
        options.add_column(overflow="fold", max_width=LONGEST)
        options.add_column()
        for option, default in component["options"].items():
            meaning = component["meanings"][option]
            options.add_row(f"{option}={default}", meaning if whole else meaning.split(". ")[0].rstrip("."))
        yield Padding(options, (0, 0, 0, 6))
