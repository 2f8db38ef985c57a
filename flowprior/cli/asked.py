"""The conditions of ``flowprior sample``: labels, labels of parts, arrays, or what extensions ask for.

Labels of parts are asked for by ``--style noto``, or ``--part NAME=VALUE`` for a part of any name. Extensions
add options of their own, such as ``--text``, for the condition or for the parts that are no labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from flowprior.cli.options import SINGLE, parse_conditions, rows_for
from flowprior.errors import OptionError
from flowprior.registry.options import did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

    from flowprior.conditions import Conditions
    from flowprior.flow import Flow
    from flowprior.pictures.grid import Panel

NAMELESS = "(empty)"
"""The name of a row without a word, such as the empty caption, in a figure."""
STYLE = "style"
OTHERS = ""
"""The key of the words that stand for all parts that are no labels, among the words of rows."""


@dataclass(frozen=True)
class Asked:
    """The samples that a command draws.

    Attributes:
        cond: condition of each sample ``[N, …]``; None for a flow without.
        n: number of samples, where ``cond`` does not say.
        rows: which row of a figure each sample stands in, ``[N]``, or its embedding; None for no rows.
        words: what rows are asked for by, one word for each row: the labels of a part, or captions.
        class_names: where ``rows`` are labels, one for each label that the flow knows; else empty.
    """

    cond: Conditions | None
    n: int | None
    rows: Tensor | None
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    class_names: Sequence[str] = ()

    @property
    def names(self) -> list[str] | None:
        """The text beside each row of a figure: its words, or the names of labels; None for neither."""
        if self.class_names:
            return list(self.class_names)
        rows = zip(*self.words.values(), strict=True)
        return [", ".join(word.strip() or NAMELESS for word in words) for words in rows] or None


class Given:
    """The result of a provider of options of ``sample``; a subclass overrides what its options change.

    Attributes:
        option: the option that asks for conditions, such as ``--text``; empty where none of them does.
        settings: arguments of :meth:`flowprior.Flow.solve`.
    """

    option: str = ""
    settings: Mapping[str, Any] = {}

    def prepare(self, flow: Flow) -> None:
        """Change what the flow is sampled with, such as its text encoder, before a condition is read."""

    def read(self, flow: Flow, count: int | None, labels: Mapping[str, str]) -> Asked:
        """Return the samples that :attr:`option` asks for.

        Args:
            flow: to be sampled.
            count: samples of each condition; None for 64 of a single one, 8 of several.
            labels: part -> its labels, as :func:`read_parts` gives them.

        Raises:
            FlowpriorError: a condition that the flow does not have.
        """
        raise NotImplementedError

    def panels(self, flow: Flow, asked: Asked, x: Tensor, panels: dict[str, Panel]) -> dict[str, Panel]:
        """Return the panels of a figure of samples x ``[N, *event]``; ``panels`` are those of the prior."""
        return panels


def asking_for_conditions(given: Sequence[Given], cond: str | None) -> Given | None:
    """Return the one that asks for conditions, or None.

    Args:
        given: by the providers of options.
        cond: of ``--cond``.

    Raises:
        OptionError: two of them do, or one beside ``--cond``.
    """
    found = [each for each in given if each.option]
    named = [*(each.option for each in found), *(["--cond"] if cond is not None else [])]
    if len(named) > 1:
        raise OptionError(f"{named[0]} and {named[1]} exclude each other; choose one of them")
    return found[0] if found else None


def read_parts(parts: Sequence[str] | None, style: str | None) -> dict[str, str]:
    """Return part -> its labels, as they were written.

    Args:
        parts: of ``--part``, each ``NAME=VALUE``.
        style: of ``--style``, which is ``--part style=VALUE``.

    Raises:
        OptionError: one that is no ``NAME=VALUE``, or a part that is given twice.
    """
    found = {} if style is None else {STYLE: style}
    for text in parts or ():
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise OptionError(f"--part {text!r} is not possible; write NAME=VALUE, such as style=noto")
        if name in found:
            raise OptionError(f"the part '{name}' is given twice; write --part {name}=A,B for several labels")
        found[name] = value
    return found


def read_asked(flow: Flow, cond: str | None, count: int | None, labels: Mapping[str, str]) -> Asked:
    """Return the samples that ``--cond`` or labels of parts ask for.

    Args:
        flow: to be sampled.
        cond: of ``--cond``.
        count: samples of each condition; None for 64 of a single one, 8 of several.
        labels: part -> its labels, as :func:`read_parts` gives them.

    Raises:
        OptionError: a condition that the flow does not have.
        InputError: no label of that name.
    """
    from flowprior.conditions.values import as_value

    if not labels:
        names = flow.words.label_names()
        conditions = parse_conditions(cond, flow.condition, count, names)
        n = (count or SINGLE) if conditions is None else None
        return Asked(conditions, n, conditions, class_names=names)
    if cond is not None:
        raise OptionError("--part (--style) and --cond exclude each other; write labels as --part NAME=VALUE")
    words = rows_of_parts(flow, labels)
    value = as_value(flow.words.read(words, None, "sample"))
    rows = rows_for(len(value), count)
    return Asked(value[rows], None, rows, words)


def rows_of_parts(
    flow: Flow, labels: Mapping[str, str], others: Sequence[str] | None = None
) -> dict[str, list[str]]:
    """Return the words of each row: each of ``others`` with every label of each part.

    Args:
        flow: whose condition has parts.
        labels: part -> its labels, as :func:`read_parts` gives them.
        others: words for the parts that are no labels, such as captions.

    Returns:
        Part -> one word a row; the others, where there are some, under :data:`OTHERS`.

    Raises:
        OptionError: a part that the flow does not have, or one that nothing is asked of.
    """
    _check_parts(flow, others, labels)
    asked = {} if others is None else {OTHERS: list(others)}
    for name, text in labels.items():
        numbers = [str(label) for label in range(flow.condition[name].size)]
        every = flow.words.label_names(name) or numbers
        asked[name] = every if text == "all" else [word.strip() for word in text.split(",")]
    rows = list(product(*asked.values()))
    return {name: [row[place] for row in rows] for place, name in enumerate(asked)}


def _check_parts(flow: Flow, others: Sequence[str] | None, labels: Mapping[str, str]) -> None:
    kinds = {name: part.kind for name, part in flow.condition.parts}
    known = [name for name, kind in kinds.items() if kind == "labels"]
    for name in labels:
        if not known:
            raise OptionError(
                f"--part {name} is not possible: this flow's condition is {flow.condition.describe()}; leave "
                "it out"
            )
        if name not in known:
            raise OptionError(
                f"--part {name}: no part of labels of this name{did_you_mean(name, known)} there are "
                f"{', '.join(known)}" + ("; write captions as --text" if name in kinds else "")
            )
    if name := next((name for name in known if name not in labels), None):
        words = flow.words.label_names(name)
        some = ", ".join(words) if words else f"0..{flow.condition[name].size - 1}"
        option = "--style NAME" if name == STYLE else f"--part {name}=NAME"
        raise OptionError(
            f"this flow's condition has a part '{name}', too; add {option}, one of {some}, or all"
        )
    if others is None and len(known) < len(kinds):
        texts = next(name for name in kinds if name not in known)
        if kinds[texts] == "tensor":
            raise OptionError(f"this flow's condition has a part '{texts}', too; add --picture FILE")
        raise OptionError(f"this flow's condition has a part '{texts}' of texts, too; add --text")
