"""Concurrency: how many events the trigger engine handles, with how many callers, and how fast."""
