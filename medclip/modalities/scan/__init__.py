"""Scans: an image file → a grey picture → the picture as a tower was trained to see it."""
