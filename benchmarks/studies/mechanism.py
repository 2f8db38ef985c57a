"""What is read off the study of the mechanism: does a shorter path or a straighter one go with quality?"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.studies.alike import means
from flowprior.study.table import DataFrame, trained

NFES = (1, 4, 15)
QUALITY = ("fid-cnn128", "fid-lite0")
COST, CURVATURE, ERROR = "transport_cost", "curvature", "global_error"
EXPLANATIONS: Mapping[str, str] = {
    COST: "transport cost of the training pairs",
    CURVATURE: "curvature",
    ERROR: "truncation error at that number of evaluations",
}


def measured(table: DataFrame) -> DataFrame:
    """Means over seeds: a row for each setting, a column for each (metric, number of evaluations).

    Transport cost of the training pairs and curvature stand at 0 evaluations.
    """
    import pandas as pd

    found = {}
    for metric, split in ((COST, "training"), (CURVATURE, "test")):
        found[(metric, 0)] = trained(table, metric, split).groupby("flow", sort=False)["value"].mean()
    for metric in (ERROR, *QUALITY):
        values = means(table, metric)
        found |= {(metric, nfe): values[nfe] for nfe in NFES}
    return pd.DataFrame(found)


def agreement(found: DataFrame) -> DataFrame:
    """Rank correlation (Spearman) of quality with each explanation over the settings: 1 is the same order.

    Rows: (features' distance, number of evaluations); a column for each of ``EXPLANATIONS``.
    """
    import pandas as pd

    rows = {}
    for metric in QUALITY:
        for nfe in NFES:
            columns = {name: found[(name, nfe if name == ERROR else 0)] for name in EXPLANATIONS}
            quality = found[(metric, nfe)].rank()
            rows[(metric, nfe)] = {name: quality.corr(of.rank()) for name, of in columns.items()}
    return pd.DataFrame.from_dict(rows, orient="index")
