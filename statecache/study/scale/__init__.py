"""The replay of a trace larger than memory, partitioned by key: in processes, or on Dask."""

from statecache.study.scale.advice import advise_on_folder
from statecache.study.scale.divided import Where
from statecache.study.scale.replay import distributed_tally, hit_curve_of_folder

__all__ = ["Where", "advise_on_folder", "distributed_tally", "hit_curve_of_folder"]
