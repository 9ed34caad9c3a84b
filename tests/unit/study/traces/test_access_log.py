"""Lines of access logs as servers write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.streams import Operation, rows_of, write

from statecache.study.traces import DELETE, READ, WRITE, read_recording

AT = "[10/Oct/2000:13:55:36 -0700]"
SECOND = 971_211_336.0  # 2000-10-10T20:55:36Z


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f'127.0.0.1 - frank {AT} "GET /a.gif HTTP/1.0" 200 2326', ("/a.gif", READ, 2326)),
        (f'::1 - - {AT} "HEAD /a HTTP/1.1" 200 -', ("/a", READ, 0)),
        (f'::1 - - {AT} "GET /a?b=1&c=[2] HTTP/2.0" 304 0 "-" "x"', ("/a?b=1&c=[2]", READ, 0)),
        (f'www:443 ::1 - o"h {AT} "GET / HTTP/1.1" 200 1', None),
        (f'www:443 ::1 - a b {AT} "PUT /a HTTP/1.1" 201 9 "r" "agent \\"x\\" y"', ("/a", WRITE, 0)),
        (f'::1 - - {AT} "POST /a HTTP/1.1" 302 9 "r" "a" 0.012', ("/a", WRITE, 0)),
        (f'::1 - - {AT} "PATCH /a HTTP/1.1" 200 9', ("/a", WRITE, 0)),
        (f'::1 - - {AT} "DELETE /a HTTP/1.1" 204 -', ("/a", DELETE, 0)),
        (f'::1 - - {AT} "GET /a\\"b\\x22 HTTP/1.1" 404 7', ('/a\\"b\\x22', READ, 0)),
        (f'::1 - - {AT} "GET /simple" 200 7', ("/simple", READ, 7)),
        ('::1 - - [10/Oct/2000:20:55:36 +0000] "GET /a HTTP/1.1" 200 7', ("/a", READ, 7)),
        ('::1 - - [11/Oct/2000:02:25:36 +0530] "GET /a HTTP/1.1" 200 7', ("/a", READ, 7)),
        ('::1 - - [10/Oct/2000:20:54:96 +0000] "GET /a HTTP/1.1" 200 7', None),
        ('::1 - - [10/Okt/2000:20:55:36 +0000] "GET /a HTTP/1.1" 200 7', None),
        (f'::1 - - {AT} "GET /a HTTP/1.1" 200', None),
        (f'::1 - - {AT} "GET /a HTTP/1.1 200 7', None),
    ],
)
def test_a_line(tmp_path: Path, line, expected):
    # one that is surely good, so that there is something to read
    good = f'::1 - - {AT} "GET /good HTTP/1.1" 200 1'
    recording = read_recording(write(tmp_path / "x", [good, line]), "access-log")
    found = rows_of(recording.trace)[1:]
    assert found == ([Operation(SECOND, *expected)] if expected else [])
    assert recording.malformed == (expected is None)


@pytest.mark.parametrize(
    "request_and_status",
    [
        '"OPTIONS * HTTP/1.1" 200',
        '"-" 408',
        '"" 400',
        '"GET" 400',
        '"\\x16\\x03\\x01" 400',
        '"PUT /a HTTP/1.1" 403',
        '"DELETE /a HTTP/1.1" 404',
        '"POST /a HTTP/1.1" 500',
    ],
)
def test_a_request_that_touches_no_state_is_ignored(tmp_path: Path, request_and_status):
    lines = [f'::1 - - {AT} "GET /a HTTP/1.1" 200 1', f"::1 - - {AT} {request_and_status} 0"]
    recording = read_recording(write(tmp_path / "x", lines))
    assert (recording.lines, recording.ignored, recording.malformed) == (2, 1, 0)
    assert len(recording.trace) == 1


def test_a_leap_second_is_a_second(tmp_path: Path):
    lines = [f'::1 - - [31/Dec/2016:23:59:{s} +0000] "GET /a HTTP/1.1" 200 1' for s in (59, 60)]
    trace = read_recording(write(tmp_path / "x", lines)).trace
    assert trace.time_s.tolist() == [1_483_228_799.0, 1_483_228_800.0]
