"""Single cells in ``.h5ad`` files, read as data and written as samples (extra ``cells``)."""
