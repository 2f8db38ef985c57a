"""Flows in latents: autoencoders, the cache of latents, and the training of an autoencoder of our own."""
