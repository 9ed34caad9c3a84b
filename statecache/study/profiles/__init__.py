"""Deployment profiles: servers that are a network's round trip away, by relays that are calibrated.

``open_profile(servers, parse_profile("same-zone"))`` yields where to connect and what was measured.
"""

from statecache.study.profiles.calibration import Calibration
from statecache.study.profiles.delay_relay import RelayUse
from statecache.study.profiles.deployment import Deployment, calibration_table, open_profile
from statecache.study.profiles.profile import PROFILES, Profile, ProfileError, parse_profile

__all__ = [
    "PROFILES",
    "Calibration",
    "Deployment",
    "Profile",
    "ProfileError",
    "RelayUse",
    "calibration_table",
    "open_profile",
    "parse_profile",
]
