"""``python -m statecache.study.profiles [MS ...]``: how precisely this machine adds round trips.

Prints a row for each number of milliseconds (by default .3, 1, 2.4 and 10) and why those that are
not valid are not; the exit status is 1 where there is one, 2 where a number is none. It needs no
servers.
"""

from __future__ import annotations

import sys

from statecache.study.errors import StudyError
from statecache.study.profiles.calibration import Calibration, calibrate
from statecache.study.profiles.delay_relay import running_delay_relay
from statecache.study.profiles.deployment import calibration_table
from statecache.study.profiles.profile import parse_profile

DEFAULT = ("0.3", "1", "2.4", "10")


def main(arguments: list[str]) -> int:
    """Print the table; return the exit status."""
    try:
        # A profile, for the checks that it makes.
        asked = [parse_profile(f"cache={text}").cache_ms for text in arguments or DEFAULT]
        found = [_calibrated(asked_ms) for asked_ms in asked if asked_ms]
    except StudyError as error:
        print(error, file=sys.stderr)  # noqa: T201 - it is a command
        return 2
    table = calibration_table("", found).drop(columns=["profile", "leg"])
    print(table.round(3).to_string(index=False))  # noqa: T201
    for calibration in found:
        if not calibration.is_valid:
            print(calibration.reason)  # noqa: T201
    return 0 if all(calibration.is_valid for calibration in found) else 1


def _calibrated(asked_ms: float) -> Calibration:
    with running_delay_relay() as relay:
        return calibrate(relay, "echo", asked_ms)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
