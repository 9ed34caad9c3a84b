"""What all pages share."""

from __future__ import annotations

from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from statecache.study.pages import svg_address


@given(st.text(st.characters(codec="utf-8")))
def test_an_image_comes_back_from_its_address_and_cannot_leave_its_attribute(svg: str) -> None:
    address = svg_address(svg)
    head, _, payload = str(address).partition(",")
    assert head == "data:image/svg+xml"
    kept = svg if "'" in svg else svg.replace('"', "'")
    assert unquote(payload) == kept
    assert not set(payload) & set('"<>&#\n\r\t')
    assert escape(address) == address, "what is safe already is not escaped again"
