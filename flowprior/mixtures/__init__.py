"""Gaussian mixtures of every condition at once, fitted to streamed data.

``covariance`` says what a family of covariances is; ``diagonal``, ``full`` and ``lowrank`` are the families;
``em`` fits a mixture, begun by k-means; ``moments`` is what is summed over the data, which ``grouped`` hands
out condition by condition and ``samples`` in part. Nothing here knows what a mixture is fitted for.
"""
