"""Troubles of the cache, and what must hold meanwhile: shared by benchmarks and notebooks."""
