"""The rules of a page: one file, no script, no request, nothing left to guess for a reader.

The browser enforces the first three through the page's policy; this check says so before the
page is written, in sentences, and adds what a browser would not mind: missing descriptions,
raw TeX and secrets.
"""

from __future__ import annotations

import base64
import binascii
import re
from html.parser import HTMLParser
from urllib.parse import unquote

__all__ = ["check_page"]

_LOADERS = frozenset({
    "src", "srcset", "poster", "data", "background", "manifest", "action", "formaction", "ping",
    "archive", "codebase",
})  # fmt: skip
_ACTIVE = frozenset({"script", "iframe", "frame", "object", "embed", "applet", "base", "portal"})
_VOID = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
    "track", "wbr",
})  # fmt: skip
# Their text is not prose: a dollar there is a dollar.
_CODE = frozenset({"pre", "code", "kbd", "samp", "style", "script", "svg", "math"})
_POLICY = {
    "default-src": {"'none'"},
    "img-src": {"data:"},
    "style-src": {"'unsafe-inline'"},
}
# nbconvert writes this for an image nobody described.
_FILLER = "no description has been provided for this image"

_CSS_ADDRESS = re.compile(
    r"""(?:url|image-set)\(\s*["']?\s*(?!data:|\#)([^"')\s]+)|@import\s*([^;]+)""", re.I
)
_TEX = re.compile(
    r"\$\$.+?\$\$"
    r"|(?<![\\\w$])\$(?=[^\s$])[^$\n]*(?<=[^\s\\])\$(?![\w$])"
    r"|\\(?:frac|sqrt|sum|int|cdot|times|left|right|text|mathrm|mathbf|begin|end|hat|bar)\b"
    r"|\\[a-zA-Z]+\{|\\\[.+?\\\]|\\\(.+?\\\)",
    re.S,
)
# A stand-in for a password is not one.
_SECRET = re.compile(
    r"://[^\s/:@\"'<>]*:(?![*•…xX]+@|&lt;|\{)[^\s/@\"'<>]+@"
    r"|(?:[?&]|&amp;)password=(?![*•…]|&lt;)[^\s&\"'<>]+"
)


def check_page(html: str) -> list[str]:
    """Return what is wrong with a page, a sentence each; an empty list means that it may go."""
    page = _Page()
    page.feed(html)
    page.close()
    problems = [*page.problems, *page.missing()]
    prose = "".join(page.prose)
    if found := _TEX.search(prose):
        problems.append(f"The text holds raw TeX, which no browser renders: {_cut(found[0])}.")
    if _SECRET.search(html) or _SECRET.search("".join(page.text)):
        # The finding is not quoted: a message must not carry the secret further.
        problems.append("The page holds an address with a password in it.")
    return list(dict.fromkeys(problems))


class _Page(HTMLParser):
    """Walks a page once and notes what breaks a rule."""

    def __init__(self, *, image: bool = False) -> None:
        super().__init__(convert_charrefs=True)
        self.image = image  # an SVG inside a data: address, not a page
        self.problems: list[str] = []
        self.text: list[str] = []
        self.prose: list[str] = []
        self.open: list[str] = []
        self.language = ""
        self.title = ""
        self.viewport = False
        self.policy: str | None = None
        self.policy_is_late = False
        self.fetched_already = False

    def missing(self) -> list[str]:
        """Return the sentences about what a page must have and this one has not."""
        problems = []
        if not self.language:
            problems.append("The page does not name its language (html lang).")
        if not self.title.strip():
            problems.append("The page has no title.")
        if not self.viewport:
            problems.append("The page has no viewport, so a telephone shows it shrunk.")
        if self.policy is None:
            problems.append("The page has no content security policy.")
        elif self.policy_is_late:
            problems.append("The content security policy comes after what it should govern.")
        return problems

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Check one element."""
        if tag not in _VOID:
            self.open.append(tag)
        values = {name: value or "" for name, value in attrs}
        if tag in _ACTIVE:
            self.problems.append(f"The page holds a <{tag}> element.")
        for name, value in values.items():
            self._check_attribute(tag, name, value)
        if self.image:
            return
        if tag in {"img", "svg"}:
            self._check_description(tag, values)
        elif tag == "html":
            self.language = values.get("lang", "").strip()
        elif tag == "meta":
            self._check_meta(values)
        if tag in {"link", "style", "img", "body"}:
            self.fetched_already = True

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Check an element that closes itself, as SVG has them."""
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close an element, and what was left open inside it."""
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        """Check style sheets, and keep the text for the rules about text."""
        self.text.append(data)
        if "style" in self.open:
            self._check_css(data)
        if "title" in self.open and "svg" not in self.open:
            self.title += data
        # A mark keeps text on both sides of skipped code apart.
        self.prose.append("\0" if _CODE.intersection(self.open) else data)

    def _check_attribute(self, tag: str, name: str, value: str) -> None:
        if name.startswith("on") and len(name) > 2:
            self.problems.append(f"The <{tag}> element has an event handler ({name}).")
        elif name == "style":
            self._check_css(value)
        elif name in _LOADERS or (name in {"href", "xlink:href"} and tag != "a"):
            self._check_source(tag, name, value)
        elif name in {"href", "xlink:href"}:
            self._check_link(value)
        elif "url(" in value.lower():  # SVG: fill, clip-path, filter
            self._check_css(value)

    def _check_source(self, tag: str, name: str, value: str) -> None:
        address = value.strip()
        if address.lower().startswith("data:"):
            self._check_data(address)
        elif not address.startswith("#"):
            self.problems.append(
                f"The <{tag}> element fetches {_cut(address)} ({name}), but a page is one file."
            )

    def _check_link(self, value: str) -> None:
        address = re.sub(r"[\x00-\x20]", "", value).lower()
        scheme = re.match(r"[a-z][a-z0-9+.-]*:", address)
        if scheme and scheme[0] not in {"https:", "http:", "mailto:"}:
            self.problems.append(f"A link leads to {_cut(value)}, which is not a web address.")
        elif address.startswith(("/", "\\")):
            self.problems.append(f"A link leads out of the results folder: {_cut(value)}.")

    def _check_css(self, css: str) -> None:
        for found in _CSS_ADDRESS.finditer(css):
            self.problems.append(f"A style fetches {_cut(found[1] or found[2])}.")

    def _check_data(self, address: str) -> None:
        head, _, payload = address.partition(",")
        if "svg" not in head.lower():
            return
        try:
            raw = base64.b64decode(payload) if ";base64" in head.lower() else b""
        except (binascii.Error, ValueError):
            self.problems.append("An image is not valid base64.")
            return
        svg = raw.decode("utf-8", "replace") or unquote(payload)
        image = _Page(image=True)
        image.feed(svg)
        image.close()
        self.problems += [f"Inside an image: {problem}" for problem in image.problems]
        self.text.append(svg)

    def _check_description(self, tag: str, values: dict[str, str]) -> None:
        if tag == "img":
            alt = values.get("alt", "").strip()
            if not alt or alt.lower().startswith(_FILLER):
                self.problems.append("An image has no description (alt).")
        elif "svg" not in self.open[:-1] and values.get("aria-hidden") != "true":
            label = values.get("aria-label", "") or values.get("aria-labelledby", "")
            if values.get("role") != "img" or not label.strip():
                self.problems.append('An SVG figure has no role="img" with a label.')

    def _check_meta(self, values: dict[str, str]) -> None:
        equiv = values.get("http-equiv", "").lower()
        if values.get("name", "").lower() == "viewport":
            self.viewport = "width=device-width" in values.get("content", "")
        if equiv == "refresh":
            self.problems.append("The page sends its reader elsewhere (meta refresh).")
        if equiv == "content-security-policy" and self.policy is None:
            self.policy = values.get("content", "")
            self.policy_is_late = self.fetched_already
            self.problems += _weaknesses(self.policy)


def _weaknesses(policy: str) -> list[str]:
    parts = [part.split() for part in policy.lower().split(";") if part.split()]
    directives = {part[0]: set(part[1:]) for part in reversed(parts)}  # the first one counts
    problems = []
    if directives.get("default-src") != _POLICY["default-src"]:
        problems.append("The content security policy does not begin from default-src 'none'.")
    for name, sources in directives.items():
        if extra := sources - _POLICY.get(name, set()) - {"'none'"}:
            problems.append(
                f"The content security policy allows {', '.join(sorted(extra))} in {name}."
            )
    return problems


def _cut(text: str) -> str:
    text = re.sub(r"://[^\s/@]*@", "://…@", " ".join(text.split()))
    return text if len(text) <= 60 else f"{text[:57]}..."
