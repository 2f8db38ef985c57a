"""The extension for image restoration: data of degraded images, metrics, and files to restore."""
