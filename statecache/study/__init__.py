"""The performance study: real servers, recorded events, measurements, verdicts."""
