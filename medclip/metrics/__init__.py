"""Figures of merit: plain arrays in, numbers out."""
