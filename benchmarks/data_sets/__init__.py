"""How the data sets that lie in the package were made, from packages of the public registries."""
