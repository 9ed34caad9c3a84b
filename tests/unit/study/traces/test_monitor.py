"""What commands in MONITOR's output do to which keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.streams import escaped, rows_of, write

from statecache.study.traces import DELETE, READ, WRITE, read_recording

R, W, D = READ, WRITE, DELETE


def lines(*commands: str, client: str = "0 127.0.0.1:60866") -> list[str]:
    return [f"1700000000.{i:06} [{client}] {command}" for i, command in enumerate(commands)]


def command(*words: str | bytes) -> str:
    return " ".join(escaped(w.encode() if isinstance(w, str) else w) for w in words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["get", "a"], [("a", R, 0)]),
        (["MGET", "a", "b", "a"], [("a", R, 0), ("b", R, 0), ("a", R, 0)]),
        (["SET", "a", "xyz", "EX", "9"], [("a", W, 3)]),
        (["SETEX", "a", "9", "xyz"], [("a", W, 3)]),
        (["PSETEX", "a", "9", b'\x00\xff\n\\"'], [("a", W, 5)]),
        (["MSET", "a", "x", "b", "yy"], [("a", W, 1), ("b", W, 2)]),
        (["DEL", "a", "b"], [("a", D, 0), ("b", D, 0)]),
        (["UNLINK", "a"], [("a", D, 0)]),
        (["EXPIRE", "a", "60"], []),
        (["PEXPIRE", "a", "0"], [("a", D, 0)]),
        (["EXPIRE", "a", "-1"], [("a", D, 0)]),
        (["GETSET", "a", "xy"], [("a", R, 2), ("a", W, 2)]),
        (["GETDEL", "a"], [("a", R, 0), ("a", D, 0)]),
        (["RENAME", "a", "b"], [("b", W, 0), ("a", D, 0)]),
        (["HGETALL", "a"], [("a", R, 0)]),
        (["HSET", "a", "f", "v"], [("a", W, 0)]),
        (["INCR", "a"], [("a", W, 0)]),
        (["PING"], []),
        (["SELECT", "3"], []),
        (["CLIENT", "SETINFO", "LIB-NAME", "x"], []),
        (["AUTH", "(redacted)"], []),
        (["GET", "schön\r\n"], [("schön\r\n", R, 0)]),
        (["GET", b"\xff\x00"], [("\\xff\x00", R, 0)]),
        (["EVALSHA", "ab" * 20, "1", "a"], []),
    ],
)
def test_a_command(tmp_path: Path, words, expected):
    recording = read_recording(write(tmp_path / "x", ["OK", *lines(command(*words))]), "monitor")
    assert [one[1:] for one in rows_of(recording.trace)] == expected
    assert recording.malformed == 0
    assert recording.ignored == (1 if expected else 2)


@pytest.mark.parametrize(
    "line",
    [
        command("GET"),
        command("SET", "a"),
        command("MSET", "a"),
        command("EXPIRE", "a", "soon"),
        '"GET" "a',
        '"GET"  "a"',
        '"GET" a',
        '"GET" "a\\"',
        command(
            "EVALSHA", "ab", "2", "p\0epoch", "p1", "1", "2", "3", "4", "5", "6", "7", "8", "9"
        ),
        command("EVALSHA", "ab", "many", "p\0epoch"),
    ],
)
def test_a_command_that_lacks_something_is_malformed(tmp_path: Path, line):
    path = write(tmp_path / "x", lines('"GET" "good"', line))
    recording = read_recording(path)
    assert (recording.malformed, len(recording.trace)) == (1, 1)
    assert recording.first_malformed.line == 2


def test_keys_of_other_databases_are_others(tmp_path: Path):
    path = write(tmp_path / "x", lines('"GET" "a"') + lines('"GET" "a"', client="3 unix:/r.sock"))
    assert read_recording(path).trace.keys.tolist() == ["a", "db3:a"]


def test_a_script_of_others_is_seen_by_what_it_runs(tmp_path: Path):
    path = write(
        tmp_path / "x",
        lines(command("EVALSHA", "ab" * 20, "1", "a")) + lines('"SET" "a" "xy"', client="0 lua"),
    )
    assert [one[1:] for one in rows_of(read_recording(path).trace)] == [("a", W, 2)]


def put(channel: str, *entries: tuple[str, str, str], name: str = "EVALSHA") -> list[str]:
    keys = [f"p:{key}" for key, _, _ in entries]
    values = [word for _, head, payload in entries for word in (head, "60000", payload)]
    script = command(
        name, "7c", str(1 + len(keys)), "p:\0epoch", *keys, "1", "5000", "e", "f", channel, "", "2",
        *values,
    )  # fmt: skip
    inner = [command("TIME"), *(command("SET", key, "longer than it was") for key in keys)]
    return lines(script) + lines(*inner, client="0 lua")


HEAD = "000660fbb99c5645"


def test_a_managers_put_is_a_write_and_its_fill_is_none(tmp_path: Path):
    entries = [("a", HEAD + "J", "{}"), ("b", HEAD + "D", ""), ("c", HEAD + "F", "")]
    text = [
        *lines('"GET" "p:a"'),
        *put("", ("a", HEAD + "J", "[1,2]"), ("n", HEAD + "N", "")),  # a fill
        *put("p:\0changed", *entries, ("n", HEAD + "N", "")),
        *put("p:\0changed", *entries, name="EVAL"),  # the same again, with the script's text
        *put(""),  # asks for the time
        *lines(command("EVALSHA", "ae", "2", "p:\0epoch", "p:d", "60000", "", "p:\0changed", "2")),
        *lines('"SET" "p:d" "0F"', client="0 lua"),
        *lines('"SET" "p:e" "x"'),
    ]
    recording = read_recording(write(tmp_path / "x", text))
    assert [one[1:3] for one in sorted(rows_of(recording.trace), key=lambda one: one.key)] == [
        ("p:a", R), ("p:a", W), ("p:b", D), ("p:c", W), ("p:d", W), ("p:e", W),
    ]  # fmt: skip
    assert recording.malformed == 0
    writes = recording.trace.op == W
    assert recording.trace.size[writes].tolist()[:2] == [2, 0]
