"""The command ``flowprior list``: components with their options, defaults and meanings."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowprior.cli.catalogue import FAMILIES, catalogue, names_of
from flowprior.cli.commands import print_json, print_rich
from flowprior.cli.options import Json
from flowprior.errors import OptionError, UnknownComponentError
from flowprior.registry.options import did_you_mean, plain

if TYPE_CHECKING:
    from rich.text import Text

ALSO = {"dataset": "data", "datasets": "data", "extractors": "features", "losses": "weights"}
"""The further names of families, beside their singular."""
WIDEST = 110
"""The largest width of the output, in characters."""
INDENT = 6
"""The number of blanks before an option."""
LONGEST = 30
"""The largest number of characters of an option and its default with the meaning on the same line."""


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
    chosen = list(FAMILIES) if family is None else [_family(family)]
    everything = catalogue()
    found = {of: everything[of] for of in chosen}
    if name is not None:
        found = {of: [_named(name, of, components)] for of, components in found.items()}
    if json:
        print_json(found)
    else:
        print_rich(*(_text(of, components, whole=name is not None) for of, components in found.items()))


def _family(word: str) -> str:
    """Return the family of a name, in singular or plural.

    Raises:
        OptionError: no family of that name.
    """
    for family in (word, f"{word}s", ALSO.get(word)):
        if family in FAMILIES:
            return family
    homes = [f"; did you mean 'flowprior list {of} {word}'?" for of in FAMILIES if word in names_of(of)]
    near = homes[0] if homes else did_you_mean(word, list(FAMILIES))
    raise OptionError(f"list: no family '{word}'{near} there are {', '.join(FAMILIES)}")


def _named(name: str, family: str, components: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the component of this name or alias.

    Raises:
        UnknownComponentError: no component of that name.
    """
    for component in components:
        if name in (component["name"], *component["aliases"]):
            return component
    known = [component["name"] for component in components]
    raise UnknownComponentError(
        f"list: no component '{name}' in {family}{did_you_mean(name, known)} known: {', '.join(known)}"
    )


def _text(family: str, components: list[dict[str, Any]], whole: bool) -> Text:
    """Return the text of all components; unless ``whole``, meanings are cut to their first sentence."""
    from rich.text import Text

    found = Text().append(f"{family}\n", "bold underline")
    width = min(shutil.get_terminal_size().columns, WIDEST)
    for component in components:
        also = f"  (also {', '.join(component['aliases'])})" if component["aliases"] else ""
        found.append(f"\n  {component['name']}", "bold").append(f"{also}\n", "dim")
        found.append(
            textwrap.indent(textwrap.fill(plain(component["description"]), width - 4), "    ") + "\n"
        )
        for line in _option_lines(component, width, whole):
            found.append(f"{line}\n")
    return found


def _option_lines(component: dict[str, Any], width: int, whole: bool) -> Iterator[str]:
    """Yield lines of ``name=default`` with the meaning beside it, or below it after a long default."""
    shown = {option: f"{option}={default}" for option, default in component["options"].items()}
    column = max((len(text) for text in shown.values() if len(text) <= LONGEST), default=0) + 2
    for option, text in shown.items():
        meaning = component["meanings"][option]
        meaning = meaning if whole else meaning.split(". ")[0].rstrip(".")
        lines = textwrap.wrap(meaning, max(width - INDENT - column, 20)) or [""]
        start = " " * INDENT + text.ljust(column)
        if len(text) > LONGEST:
            yield start.rstrip()
            start = " " * (INDENT + column)
        yield (start + lines[0]).rstrip()
        yield from (" " * (INDENT + column) + line for line in lines[1:])
