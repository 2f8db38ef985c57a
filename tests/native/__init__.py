"""The native kernels against the pure-torch references."""
