"""docs/TRACES.md: every format has its section, and every example is what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from statecache.study.checkout import find_root
from statecache.study.traces import (
    DELETE,
    FORMATS,
    READ,
    TWITTER_CLUSTERS,
    WRITE,
    read_recording,
)
from statecache.study.traces.operations import WORDS

PAGE = (find_root(Path(__file__).parent) / "docs" / "TRACES.md").read_text()
SECTIONS = dict(
    re.findall(r"^### ([\w-]+)\n(.*?)(?=^###|\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
)
EXAMPLES = {
    name: found[1]
    for name, text in SECTIONS.items()
    if (found := re.search(r"```text\n(.*?)```", text, re.DOTALL))
}


def test_every_format_has_its_section():
    assert list(SECTIONS) == list(FORMATS)
    assert set(EXAMPLES) == set(FORMATS) - {"parquet", "slt", "flights", "synthetic"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("csv", [("user:17", READ, 312), ("user:17", WRITE, 340), ("user:18,b", DELETE, 0)]),
        (
            "twitter",
            [
                ("nz:u:eeW511W3dcH3de3d15ec", READ, 304),
                ("nz:u:kkW511W3dcH3de3d15ec", READ, 280),
                ("nz:u:kkW511W3dcH3de3d15ec", WRITE, 280),
            ],
        ),
        (
            "cachelib",
            [
                ("82131353f9ddc8c6", READ, 87),
                *[("a54f88ab02ece24d", READ, 120)] * 3,
                ("a54f88ab02ece24d", WRITE, 120),
            ],
        ),
        (
            "access-log",
            [("/board?route=JFK-LAX", READ, 2326), ("/routes/JFK-LAX", WRITE, 0)],
        ),
        (
            "monitor",
            [
                ("user:17", READ, 16),
                ("user:17", WRITE, 16),
                ("user:17", READ, 16),
                ("user:18", READ, 0),
                ("user:17", DELETE, 0),
            ],
        ),
    ],
)
def test_the_example_is_read_as_the_page_says(tmp_path: Path, name, expected):
    (tmp_path / "x").write_text(EXAMPLES[name])
    recording = read_recording(tmp_path / "x")
    trace = recording.trace
    assert (recording.format, recording.malformed) == (name, 0)
    names = trace.keys[trace.key].tolist()
    assert list(zip(names, trace.op.tolist(), trace.size.tolist(), strict=True)) == expected


def test_the_words_and_clusters_that_it_names_are_there():
    words = re.search(r"^Words for operations: (.*?)\(`", SECTIONS["csv"], re.MULTILINE | re.DOTALL)
    for code, listed in enumerate(re.findall(r"`([^`]*) …`", words[1])):
        assert {WORDS[word] for word in listed.split()} == {code}
    assert set(re.findall(r"`(cluster\d+)`", SECTIONS["synthetic"])) == set(TWITTER_CLUSTERS)
