"""The truth of an index on one machine, in SQLite."""
