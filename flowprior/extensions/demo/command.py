"""The command ``flowprior demo``: a local page that draws samples of a trained flow."""

from __future__ import annotations

import os
from functools import partial
from typing import Annotated

import typer

from flowprior.cli.options import Device, Run, load_run
from flowprior.errors import OptionError, pip_install


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
    """Serve a page that draws samples of RUN, with their prior and trajectories; Ctrl-C ends it."""
    from flowprior.extensions.demo.answer import fields_of
    from flowprior.flow.files import find_flow
    from flowprior.pictures.grid import check_drawable

    find_flow(run)  # before what it needs is imported, which takes seconds
    check_extra()
    flow = load_run(run, device)
    check_drawable(flow.event_shape)
    if encoder is not None:
        flow.text_encoder = encoder
    fields = fields_of(flow)
    from flowprior.extensions.demo.page import build_page
    from flowprior.extensions.demo.serving import serve

    serve(partial(build_page, flow, str(run), fields), host, port)


def check_extra() -> None:
    """Check that gradio is installed, before a flow is loaded.

    Raises:
        OptionError: it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise OptionError(f"demo: gradio is not installed; {pip_install('demo')}") from error
