"""The replay of a trace larger than memory, partitioned by key: in processes, or on Dask."""

from statecache.study.scale.job import distributed_tally, hit_curve_of_folder

__all__ = ["distributed_tally", "hit_curve_of_folder"]
