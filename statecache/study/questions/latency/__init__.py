"""Cache hit against database read, and what writing through the cache costs."""
