"""Check that the current folder is what a newcomer has: a fresh clone, and nothing installed before.

CI runs ``python .ci/bare.py`` before ``make demo`` and ``python .ci/bare.py --after`` after ``make test``. It
prints what it looked at, or exits with 1 and one line for each thing that a newcomer would not have.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

DATA_SETS = Path("/usr/share/datasets")
ALLOWED = {"PATH", "HOME", "LANG", "PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"}
PREFIXES = ("PIP_", "PYTEST_ADDOPTS", "SSL_CERT_", "REQUESTS_CA_", "PYENV_", "_PYENV_", "OPENBLAS_")
"""Settings of the machine (certificates, processor, Python), and the options that CI gives to pytest."""


def before(folder: Path, home: Path, data_sets: Path, environment: dict[str, str]) -> list[str]:
    """Everything that a newcomer would not have before the first command, one line each."""
    status = ["git", "status", "--porcelain", "--ignored"]
    listing = subprocess.run(status, cwd=folder, capture_output=True, text=True, check=True).stdout
    found = [f"the clone has a file that git does not: {line[3:]}" for line in listing.splitlines()]
    found += [f"the home folder has {path.name}" for path in _entries(home)]
    found += [f"{data_sets} has {path.name}" for path in _entries(data_sets)]
    names = (name for name in environment if name not in ALLOWED and not name.startswith(PREFIXES))
    return found + [f"the environment has the variable {name}" for name in sorted(names)]


def after(folder: Path) -> list[str]:
    """Everything that shows that ``make`` used more than the environment that it made itself."""
    venv = folder / ".venv"
    if not (venv / "pyvenv.cfg").is_file():
        return [f"make has left no environment in {venv}"]
    found = []
    if "include-system-site-packages = false" not in (venv / "pyvenv.cfg").read_text(encoding="utf-8"):
        found.append(f"{venv} uses the packages of the system")
    for path in venv.glob("lib/*/site-packages/*.pth"):
        lines = path.read_text(encoding="utf-8").splitlines()
        lent = (line for line in lines if line.startswith("/") and Path(line) != folder)
        found += [f"{path.name} lends packages from {line}" for line in lent]
    return found


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def main() -> int:
    """The command line: no argument before the first command, ``--after`` after the last."""
    folder, home = Path.cwd(), Path(os.environ["HOME"])
    if "--after" in sys.argv[1:]:
        found, looked = after(folder), "the environment that make left has its own packages alone"
    else:
        found = before(folder, home, DATA_SETS, dict(os.environ))
        looked = "a fresh clone, an empty home folder, no data sets, no variables of the caller's"
    sys.stderr.write("".join(f"bare: {line}\n" for line in found or [looked]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
