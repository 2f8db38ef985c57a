"""``flowprior demo``: a local page to play with a trained flow."""

from __future__ import annotations

import sys
from functools import partial
from typing import Annotated

import typer

from flowprior.cli.commands import print_rich
from flowprior.cli.options import Device, Run, load_run


def demo(
    run: Run,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 7860,
    encoder: Annotated[
        str | None,
        typer.Option(help="Text encoder (flowprior list encoders); by default the one of the training data."),
    ] = None,
    device: Device = "auto",
) -> None:
    """Serve a page that draws samples of RUN, with their prior and their way; Ctrl-C ends it."""
    from flowprior.extensions.demo.fields import fields_of
    from flowprior.extensions.demo.page import build_page
    from flowprior.extensions.demo.serving import check_extra, serve
    from flowprior.flow.files import find_flow
    from flowprior.pictures import check_drawable

    find_flow(run)  # before what it needs is imported, which takes seconds
    check_extra()
    flow = load_run(run, device)
    check_drawable(flow.event_shape)
    if encoder is not None:
        flow.text_encoder = encoder
    fields = fields_of(flow)
    serve(partial(build_page, flow, str(run), fields, encoder), host, port, _announce)


def _announce(address: str) -> None:
    print_rich(f"the page is at {address}; Ctrl-C ends it")
    sys.stdout.flush()
