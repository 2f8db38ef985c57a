"""The build backend of pyproject.toml (PEP 517 and 660): setuptools, asked for a little more.

A wheel with the native extension needs torch, pybind11 and ninja to build; one without needs none of them.
So they are asked for only where the extension will be tried, and torch only where there is none to build
against yet: it is large, and pip unpacks it a second time for the build alone.
"""

from __future__ import annotations

import shutil
import tempfile
from typing import Any

from setuptools import build_meta

from csrc.build import wanted
from csrc.toolchain import MINIMUM_TORCH, BuildError, find_compiler, find_torch

build_wheel = build_meta.build_wheel
build_sdist = build_meta.build_sdist
build_editable = build_meta.build_editable
get_requires_for_build_sdist = build_meta.get_requires_for_build_sdist
prepare_metadata_for_build_wheel = build_meta.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = build_meta.prepare_metadata_for_build_editable

ROOM_FOR_TORCH = 10 * 2**30  # bytes that a CUDA build of torch and its libraries take, and some to spare


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """What setuptools needs, and what the extension needs if it will be tried."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), *native_requirements()]


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    """As for a wheel."""
    return [*build_meta.get_requires_for_build_editable(config_settings), *native_requirements()]


def native_requirements() -> list[str]:
    """Packages to build the extension with: none where it is not wanted or no compiler could build it."""
    try:
        if wanted() == "none":
            return []
        find_compiler()
    except BuildError:
        return []  # setup.py says it, as an error where the extension was demanded
    return ["pybind11>=2.13", *([] if shutil.which("ninja") else ["ninja>=1.11"]), *_torch()]


def _torch() -> list[str]:
    try:
        find_torch()
    except BuildError:
        room = shutil.disk_usage(tempfile.gettempdir()).free
        if wanted() != "auto" or room >= ROOM_FOR_TORCH:
            return [f"torch>={'.'.join(map(str, MINIMUM_TORCH))}"]
    return []
