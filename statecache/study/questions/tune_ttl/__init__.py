"""The advised TTL, proved live: the advice on a trace, and a slice of it on real servers."""
