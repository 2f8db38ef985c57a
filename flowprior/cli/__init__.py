"""The command line: ``flowprior train``, ``sample``, ``evaluate``, ``compare``, ``list``, ``info`` …"""

from flowprior.cli.app import app, main

__all__ = ["app", "main"]
