"""What each notebook asks: what it measures, what it finds, and its figures."""
