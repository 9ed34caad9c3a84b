"""Which TTL? Hit rate and statements saved, on recorded flights."""
