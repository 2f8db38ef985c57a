"""Texts: encoders of captions, captioned images, and how well images fit their captions (extra ``text``)."""
