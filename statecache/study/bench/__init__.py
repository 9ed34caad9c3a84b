"""The benchmarks of the managers: ``statecache study bench``, ``make bench``."""
