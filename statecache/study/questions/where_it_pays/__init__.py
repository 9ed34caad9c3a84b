"""From which distance, hit rate and share of reads a cache pays, and what it costs."""
