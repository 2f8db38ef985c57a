"""A network that is shown some parts of the condition: the option ``reads`` of every network."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from flowprior.conditions import Condition, Conditions, Parts, choose_parts, describe_value
from flowprior.errors import InputError, OptionError


def read_condition(condition: Condition, reads: object, owner: str) -> Condition:
    """The condition of a network that reads the parts ``reads``: one alone is that part itself.

    Raises:
        OptionError: a name that is no part of the condition.
    """
    if not isinstance(reads, str):
        raise OptionError(f"{owner}: reads={reads!r} is not possible; expected the name of a part")
    if not reads:
        return condition
    try:
        names = choose_parts(condition.names, reads, owner)
    except InputError as error:
        raise OptionError(str(error)) from None
    return condition[names[0]] if len(names) == 1 else condition.only(names)


class ReadingModel(nn.Module):
    """Shows a network the parts ``names`` of the condition; a single one as itself.

    Args:
        net: v(x, t, cond) of these parts.
        names: of the parts.
    """

    def __init__(self, net: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.net = net
        self.names = names

    def forward(self, x: Tensor, t: Tensor, cond: Conditions | None = None) -> Tensor:
        """As the network; the condition has to be :class:`flowprior.conditions.Parts`.

        Raises:
            InputError: it is not.
        """
        if not isinstance(cond, Parts):
            names = ", ".join(self.names)
            raise InputError(
                f"model: expected a condition with the parts {names}, got {describe_value(cond)}"
            )
        read: Any = cond[self.names[0]] if len(self.names) == 1 else cond.only(self.names)
        return self.net(x, t, read)
