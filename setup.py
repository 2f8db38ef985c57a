"""Build script; everything that is not code stands in pyproject.toml.

It puts the native extension of ``csrc/`` and the record of its build into the package. ``FLOWPRIOR_BUILD``
says whether to build it: ``auto`` (default), ``cpu``, ``cuda`` or ``none``; see ``csrc/build.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))

from csrc.build import RECORD, install, wanted  # noqa: E402
from csrc.parameters import module_name  # noqa: E402
from csrc.toolchain import BuildError  # noqa: E402


class BuildNative(build_ext):
    """Builds the module by ninja, or drops the extension and records why there is none."""

    def run(self) -> None:
        try:
            record = install(wanted(), self._package())
        except BuildError as error:
            raise CompileError(str(error)) from None
        sys.stderr.write(f"flowprior: {record['variant'] or 'pure Python'} ({record['reason']})\n")
        if record["variant"] is None:
            self.distribution.ext_modules = self.extensions = []

    def get_outputs(self) -> list[str]:
        return [] if self._in_place() else [str(path) for path in self._products()]

    def get_output_mapping(self) -> dict[str, str]:
        return {}

    def _products(self) -> list[Path]:
        names = [RECORD, *([module_name()] if self.extensions else [])]
        return [self._package() / name for name in names]

    def _package(self) -> Path:
        return (ROOT if self._in_place() else Path(self.build_lib)) / "flowprior"

    def _in_place(self) -> bool:
        return bool(self.inplace or self.editable_mode)


class Wheel(bdist_wheel):
    """Builds before it names itself: a wheel is for any platform once the extension is dropped."""

    def run(self) -> None:
        self.run_command("build_ext")
        self.root_is_pure = not self.distribution.has_ext_modules()
        super().run()


setup(
    ext_modules=[Extension("flowprior._C", sources=[])],
    cmdclass={"build_ext": BuildNative, "bdist_wheel": Wheel},
)
