"""Recorded streams of cache operations: what they are, and how they are read."""

from statecache.study.traces.reading import read_trace
from statecache.study.traces.trace import DELETE, OPERATIONS, READ, WRITE, Trace, TraceError

__all__ = ["DELETE", "OPERATIONS", "READ", "WRITE", "Trace", "TraceError", "read_trace"]
