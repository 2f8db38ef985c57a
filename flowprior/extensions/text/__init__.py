"""Conditions made of texts: captions, their encoders, and how well images fit them."""
