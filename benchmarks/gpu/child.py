"""One step on the card: ``python -m benchmarks.gpu.child NAME MODULE:FUNCTION REPORT SECONDS``.

The file REPORT holds what was found so far, and at the end whether there was an error.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.run import execute
from benchmarks.gpu.steps import Job, Step


def main(name: str, function: str, report: Path, seconds: float) -> int:
    """Run the step, leaving its values and its error in ``report``."""
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(1)
    )  # commands that the step runs are ended on the way out

    def write(values: dict[str, Any], error: str | None = None, ended: bool = False) -> None:
        temporary = report.with_suffix(".tmp")
        temporary.write_text(json.dumps({"values": values, "error": error, "ended": ended}), encoding="utf-8")
        temporary.replace(report)

    step = Step(name, "", "", function, 0, seconds)
    outcome = execute(step, Job("cuda", time.monotonic() + seconds, write))
    write(outcome.values, outcome.error, ended=True)
    return 0 if outcome.error is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), float(sys.argv[4])))
