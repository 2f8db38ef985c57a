"""What a prior is fitted on: a data set, or batches (x1, c) of any kind, checked at the boundary."""
