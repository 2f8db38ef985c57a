"""The headline study (docs/protocol.md): every method at its best on several data sets.

    python -m benchmarks.studies.headline                  everything, from where it stopped
    python -m benchmarks.studies.headline choose letters   one stage, on one data set

Several processes may run it side by side; each makes the runs that no other one is making. Runs lie in
``runs/headline``, their values in ``benchmarks/results``.
"""
