"""The typer application of ``flowprior``; each command has a file of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from flowprior.cli.commands import Commands
from flowprior.cli.compare import compare
from flowprior.cli.evaluate import evaluate
from flowprior.cli.info import info
from flowprior.cli.inspect import inspect
from flowprior.cli.list import list_components
from flowprior.cli.sample import sample
from flowprior.cli.train import train

app = typer.Typer(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
Commands.functions |= {
    "train": train,
    "sample": sample,
    "evaluate": evaluate,
    "compare": compare,
    "inspect": inspect,
    "list": list_components,
    "info": info,
}


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit: 0 when done, 2 on a user's mistake, 130 on Ctrl-C, 143 on SIGTERM."""
    typer.main.get_command(app).main(args=args, prog_name="flowprior")


def _show_version(value: bool) -> None:
    if value:
        import flowprior

        typer.echo(f"flowprior {flowprior.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", help="Show the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Designed priors, couplings and samplers for conditional flow matching."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
