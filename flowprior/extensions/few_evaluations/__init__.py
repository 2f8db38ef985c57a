"""Good samples of few evaluations: average velocities, the sampler ``flow-map``, and warm starts."""
