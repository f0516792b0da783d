"""The synthetic cohorts, whose cases a program draws."""
