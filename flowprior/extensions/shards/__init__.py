"""Data in ``.tar`` shards, as WebDataset has them (extra ``shards``)."""
