"""The priors whose density a network learns: the normalising flow ``flow`` and the autoencoder ``vae``."""
