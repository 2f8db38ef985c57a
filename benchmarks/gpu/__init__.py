"""What is measured on a machine with a CUDA card, by one command: ``python -m benchmarks.gpu``."""
