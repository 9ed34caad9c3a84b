"""The harness: workloads, load drivers, variants and cells; what every notebook measures with."""
