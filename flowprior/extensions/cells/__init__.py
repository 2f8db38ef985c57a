"""The extension for single cells: ``.h5ad`` files as data and as files of samples (extra ``cells``)."""
