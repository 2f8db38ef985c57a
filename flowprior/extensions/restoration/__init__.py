"""Images to be restored: data whose conditions are degraded images, scores, and files to be restored."""
