"""The parts that all commands share: results go to stdout, progress and one-line errors to stderr."""

from __future__ import annotations

import functools
import inspect
import json
import os
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import typer
from tqdm import tqdm
from typer.core import TyperCommand, TyperGroup

from flowprior.errors import FlowpriorError, OptionError
from flowprior.progress.stages import showing
from flowprior.registry.options import did_you_mean
from flowprior.registry.plugins import points_of
from flowprior.storage.user_paths import expanded

# Newer versions of typer carry their own copy of click, so its class is found through typer's.
ClickException: type[Exception] = next(
    c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException"
)

GROUP = "flowprior.commands"
"""The entry-point group of commands."""
OPTIONS = "flowprior.options"
"""The entry-point group of providers of options, each named ``COMMAND.NAME``."""
PROVIDED = "provided"
"""The parameter through which a command gets the results of the providers of its options."""
USER_ERROR = 2
"""The exit code for a user's mistake."""
INTERRUPTED = 130
"""The exit code after Ctrl-C."""
LONGEST_LINE = 2000
"""The largest number of characters of a line on stderr."""


class Command(TyperCommand):
    """A command that shows its progress in a terminal, unless it prints JSON."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; of several processes of one run, only the first shows progress."""
        ctx.params = {name: _at_home(value) for name, value in ctx.params.items()}
        with showing(False if ctx.params.get("json") or process_rank() else None):
            return super().invoke(ctx)


def _at_home(value: Any) -> Any:
    """Expand the ``~`` of a path, or of each path in a list; a shell leaves it in ``--out=~/run``."""
    if isinstance(value, list):
        return [_at_home(item) for item in value]
    return expanded(value) if isinstance(value, Path) else value


class Commands(TyperGroup):
    """The group of commands, which shows a user's mistake in one line and other errors with a stack trace.

    Packages add commands by entry points of the group ``flowprior.commands``: functions for typer, each of
    which is imported when it is called or when help lists it.

    Attributes:
        functions: flowprior's own commands by name, in the order of the help.
    """

    functions: ClassVar[dict[str, Callable[..., None]]] = {}

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands in the order of the help, those of entry points last."""
        return [*self.functions, *sorted({point.name for point in points_of(GROUP)} - self.functions.keys())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of this name, or None; a broken entry point warns and is skipped."""
        if cmd_name in self.functions:
            return _built(cmd_name, with_options(cmd_name, self.functions[cmd_name]))
        found = None
        for point in points_of(GROUP):
            if point.name != cmd_name:
                continue
            try:
                found = _built(cmd_name, point.load())
            except (Exception, SystemExit) as error:
                warnings.warn(f"command '{cmd_name}' ({point.value}) is skipped: {error}", stacklevel=2)
        return found

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the arguments begin with; for an unknown one, suggest the nearest."""
        word = args[0]
        if not (word.startswith("-") or self.get_command(ctx, word) or ctx.resilient_parsing):
            known = self.list_commands(ctx)
            near = did_you_mean(word, known)
            raise OptionError(f"no such command '{word}'{near} there are {', '.join(known)}")
        return super().resolve_command(ctx, args)

    def main(self, *arguments: Any, standalone_mode: bool = True, **options: Any) -> Any:
        """Parse the arguments, run the command and exit."""
        if not standalone_mode:
            return super().main(*arguments, standalone_mode=False, **options)
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                code = super().main(*arguments, standalone_mode=False, **options) or 0
            except FlowpriorError as error:
                code = _report(f"error: {error}", USER_ERROR)
            except ClickException as error:
                code = _report(f"error: {_usage(error)}", USER_ERROR)
            except (MemoryError, RuntimeError) as error:
                # torch has no type of its own for the memory of the CPU
                if not isinstance(error, MemoryError) and "can't allocate memory" not in str(error):
                    raise
                code = _report(
                    f"error: there is not enough memory ({error}); choose a smaller model, batch or event",
                    USER_ERROR,
                )
            except (KeyboardInterrupt, typer.Abort):
                code = INTERRUPTED
        if code == INTERRUPTED:
            _report("interrupted", INTERRUPTED)
        sys.exit(code)


def _usage(error: Any) -> str:
    """Return the message of click about a command line that it refuses, and where the help is."""
    message = error.format_message().rstrip(".").replace("Input should be a ", "expected a ")
    message = message.replace("Input should be", "expected a value")
    context = getattr(error, "ctx", None)
    hint = f"; see {context.command_path} --help" if context else ""
    return f"{message[:1].lower()}{message[1:]}{hint}"


def _built(name: str, function: Callable[..., None]) -> Any:
    app = typer.Typer(add_completion=False)
    app.command(name, cls=Command)(function)
    return typer.main.get_command(app)


def with_options(name: str, function: Callable[..., None]) -> Callable[..., None]:
    """Return the function of a command with the options of its providers among its parameters.

    A provider is an entry point of the group :data:`OPTIONS`, a function of options as typer takes them. What
    each of them makes of its options, unless that is None, is in the list that ``function`` is given as
    :data:`PROVIDED`. A broken one, or one with an option that is taken already, warns and is skipped.

    Args:
        name: of the command.
        function: of the command; one without the parameter :data:`PROVIDED` has no providers. Its attribute
            ``options``, where it has one, is the provider of its own.
    """
    signature = inspect.signature(function, eval_str=True)
    parameters = dict(signature.parameters)
    if parameters.pop(PROVIDED, None) is None:
        return function
    providers: list[tuple[Callable[..., Any], Iterable[str]]] = []
    if (own_options := getattr(function, "options", None)) is not None:
        own = inspect.signature(own_options).parameters
        parameters = {**own, **parameters}
        providers.append((own_options, own))
    for point in points_of(OPTIONS):
        if not point.name.startswith(f"{name}."):
            continue
        try:
            provider = point.load()
            own = inspect.signature(provider, eval_str=True).parameters
            for taken in sorted(own.keys() & parameters.keys()):
                raise OptionError(f"'{taken}' is an option of {name} already; give it another name")
        except (Exception, SystemExit) as error:
            warnings.warn(f"options '{point.name}' ({point.value}) are skipped: {error}", stacklevel=2)
            continue
        parameters |= own
        providers.append((provider, own))

    @functools.wraps(function)
    def command(**values: Any) -> None:
        made = [provider(**{option: values.pop(option) for option in own}) for provider, own in providers]
        function(**values, **{PROVIDED: [each for each in made if each is not None]})

    named = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters.values()]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in named}
    command.__dict__["__signature__"] = signature.replace(parameters=named)
    return command


def _report(message: str, code: int) -> int:
    """Write one line to stderr, with unprintable characters escaped, and return ``code``."""
    process = process_rank()
    if not process or code:
        line = f"process {process}: {message}" if process else message
        line = textwrap.shorten(line, LONGEST_LINE, placeholder=" …")
        shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
        tqdm.write(f"flowprior: {shown}", file=sys.stderr)  # above the bars
    return code


def process_rank() -> int:
    """Return the number of this process among those of one run, from 0; only the first shows messages."""
    count, rank = (os.environ.get(name, "") for name in ("WORLD_SIZE", "RANK"))
    return int(rank) if rank.isdecimal() and count.isdecimal() and int(count) > 1 else 0


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Show a warning as one line, without the place in the code."""
    _report(f"warning: {message}", 0)


def print_json(value: Any) -> None:
    """Print ``value`` as JSON; values of types that JSON does not have are printed as text."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_rich(*renderables: Any) -> None:
    """Print tables and text with rich; lines of text are not wrapped.

    Brackets are not read as rich's markup, since names of files, labels and specs come from users; bold text
    is passed as ``rich.text.Text``.
    """
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    for renderable in renderables:
        console.print(renderable, soft_wrap=isinstance(renderable, str))
