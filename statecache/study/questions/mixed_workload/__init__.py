"""Read share and TTL: what they do to throughput, PostgreSQL's statements and its CPU time."""
