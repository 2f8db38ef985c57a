"""Which version of a package is installed, as runs, flows and results note it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def package_version(package: str = "flowprior", missing: str = "unknown") -> str:
    """The installed version of ``package``; ``missing`` where it is not installed, or runs from a folder."""
    try:
        return version(package)
    except PackageNotFoundError:
        return missing
