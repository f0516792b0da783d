"""A reporting checklist for a model and its index: what the program knows filled in, the rest left to people."""
