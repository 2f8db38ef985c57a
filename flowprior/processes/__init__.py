"""The processes that work together: :mod:`flowprior.processes.group`."""
