"""The operators and the parts around the network, timed beside their peers: ``pytest benchmarks --benchmark-only``."""
