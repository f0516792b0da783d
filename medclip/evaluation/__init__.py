"""Measuring: retrieval and classification figures, and the protocols under which they are comparable."""
