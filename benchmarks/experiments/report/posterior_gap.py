"""Where the error of `posterior` comes from."""

from __future__ import annotations

import json

from benchmarks.experiments.report.formatting import RESULTS, table


def posterior_gap() -> str:
    """What `posterior`'s starts cost, from posterior_gap.py."""
    path = RESULTS / "posterior-gap.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text())
    rows = [
        [str(row["seed"]), str(row["nfe"]), f"{row['inferred']:.1f}", f"{row['drawn']:.1f}"]
        for row in result["rows"]
    ]
    return (
        "### Where the error of `posterior` comes from\n\n"
        "`python -m benchmarks.experiments.posterior_gap`: fid-cnn128 of the trained flow "
        f"`lowrank64+posterior`, from {result['samples']:,} starts inferred from training pictures, as in "
        "training, and from as many drawn from the prior, as in sampling. The network does its part (though "
        "an inferred start also knows its picture); the Gaussian law of the latents does not.\n\n"
        + table(["seed", "NFE", "inferred starts", "drawn starts"], rows)
    )
