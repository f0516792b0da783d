"""Measurements: age, sex, vital signs and laboratory values → a standardised vector with a missing mask."""
