"""Cases and queries → unit vectors, by one path; kept in shards while a long job runs, here or on a Ray cluster."""
