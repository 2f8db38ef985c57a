"""How the data sets in the package were made, from packages of the public registries; and data of a study."""
