"""Which mechanism helps: gathering, Redis, the in-process tier, and every other one alone."""
