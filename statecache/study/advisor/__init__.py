"""Which TTL to run: the advice on a trace, within limits."""
