"""The extension for data in ``.tar`` shards in the format of WebDataset (extra ``shards``)."""
