"""Images to be restored: data whose conditions are degraded images, and scores of restorations."""
