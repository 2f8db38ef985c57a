"""The extension for captions: data sets, text encoders, and the fit of images to captions."""
