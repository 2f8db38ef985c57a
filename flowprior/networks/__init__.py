"""The small networks and embeddings that priors and velocity networks share."""
