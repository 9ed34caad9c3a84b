"""Run by an interpreter that has libcachesim, as a process of its own: LRU over a trace's file.

Arguments: the file, in libCacheSim's oracleGeneral form, and the cache sizes in objects. Prints the
seconds that all sizes took one after the other, and the miss rates, as JSON.
"""

import json
import sys
import time

import libcachesim


def main(path: str, sizes: list[int]) -> None:
    """Simulate each size, reading the file anew."""
    reader = libcachesim.TraceReader(
        trace=path,
        trace_type=libcachesim.TraceType.ORACLE_GENERAL_TRACE,
        reader_init_params=libcachesim.ReaderInitParam(ignore_obj_size=True),
    )
    miss_rates = []
    started = time.perf_counter()
    for size in sizes:
        miss_rates.append(libcachesim.LRU(cache_size=size).process_trace(reader)[0])
        reader.reset()
    seconds = time.perf_counter() - started
    sys.stdout.write(json.dumps({"seconds": seconds, "miss_rates": miss_rates}))


if __name__ == "__main__":
    main(sys.argv[1], [int(size) for size in sys.argv[2:]])
