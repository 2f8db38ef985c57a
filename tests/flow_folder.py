"""Look into a saved flow, and rewrite its description as if it had been saved so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flowprior.storage.digests import signed, unsigned

DESCRIPTION = "flow.json"


def weights_of(folder: Path) -> Path:
    """The file of the flow's tensors."""
    return folder / description_of(folder)["files"]["weights"]["name"]


def description_of(folder: Path) -> dict[str, Any]:
    """What ``flow.json`` says."""
    return json.loads((folder / DESCRIPTION).read_text())


def redescribe(folder: Path, **changes: Any) -> Path:
    """Set keys of ``flow.json``, or take them away where the value is None, and sign it anew."""
    path = folder / DESCRIPTION
    values = {**unsigned(description_of(folder), path), **changes}
    kept = {key: value for key, value in values.items() if value is not None}
    path.write_text(json.dumps(signed(kept)))
    return folder
