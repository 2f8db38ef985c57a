"""The streams of batches (x1, c) that priors are fitted on: data sets, tensors and batches, checked once."""
