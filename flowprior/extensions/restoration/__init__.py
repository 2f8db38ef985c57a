"""Images to be restored: data sets of what is left of each image, and files that are to be restored."""
