"""Recorded streams of cache operations: what they are, how they are read, written and drawn."""

from statecache.study.traces.formats import FORMATS
from statecache.study.traces.reading import Recording, read_recording, read_trace
from statecache.study.traces.rows import Malformed
from statecache.study.traces.synthetic import TWITTER_CLUSTERS, Mix, draw_trace
from statecache.study.traces.trace import DELETE, OPERATIONS, READ, WRITE, Trace, TraceError
from statecache.study.traces.writing import write_trace

__all__ = [
    "DELETE",
    "FORMATS",
    "OPERATIONS",
    "READ",
    "TWITTER_CLUSTERS",
    "WRITE",
    "Malformed",
    "Mix",
    "Recording",
    "Trace",
    "TraceError",
    "draw_trace",
    "read_recording",
    "read_trace",
    "write_trace",
]
