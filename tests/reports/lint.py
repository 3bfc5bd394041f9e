"""What every page must hold, read with the standard library's parser."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from urllib.parse import unquote

VOID = {"meta", "link", "img", "br", "hr", "input", "wbr"}


class Page(HTMLParser):
    """The elements of a page, in order, and what is wrong with its structure."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.style = ""
        self.faults: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        if self._open:
            self.faults.append(f"never closed: {self._open}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(set(names)) < len(names):
            self.faults.append(f"an attribute twice in <{tag}>: {names}")
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1] != tag:
            self.faults.append(f"</{tag}> at {self.getpos()} closes {self._open[-3:]}")
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.style += data
        else:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.elements if name == tag]


def faults(html: str, budget: int = 300_000) -> list[str]:
    """Return everything that breaks a promise of our pages."""
    page = Page(html)
    found = list(page.faults)
    if len(html.encode()) > budget:
        found.append(f"{len(html.encode())} bytes, {budget} are the budget")
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    found += [f"id {id!r} twice" for id in set(ids) if ids.count(id) > 1]
    found += [f"id {id!r} holds white space" for id in ids if re.search(r"\s", id) or not id]
    for tag, attrs in page.elements:
        for name, value in attrs.items():
            if name.startswith("on"):
                found.append(f"event handler {name} in <{tag}>")
            if name == "style":
                found.append(f"style attribute in <{tag}>")
            if name in ("aria-labelledby", "aria-describedby", "for"):
                found += [f"{name} names no id: {id}" for id in value.split() if id not in ids]
            if name in ("href", "src", "xlink:href", "action", "formaction", "srcset", "poster", "data"):
                if value.startswith("#"):
                    if unquote(value[1:]) not in ids:
                        found.append(f"{value} leads nowhere")
                elif tag == "a":
                    if re.match(r"\s*(javascript|data|vbscript):", value, re.IGNORECASE):
                        found.append(f"a link to {value[:30]}")
                    if attrs.get("rel") != "noopener":
                        found.append(f"a link out without rel=noopener: {value}")
                elif not value.startswith("data:"):
                    found.append(f"<{tag}> fetches {value}")
        if tag == "img" and not attrs.get("alt"):
            found.append("an image without alt")
        if tag in ("script", "iframe", "object", "embed", "base", "form", "foreignobject"):
            found.append(f"<{tag}>")
        if tag == "svg" and "aria-hidden" not in attrs and "role" not in attrs and "overflow" not in attrs:
            found.append("an svg that is neither hidden nor named")
        if tag == "pre" and "tabindex" not in attrs:
            found.append("a <pre> that the keyboard cannot scroll")
    if len(page.all("h1")) != 1:
        found.append(f"{len(page.all('h1'))} h1")
    if page.all("html") != [{"lang": "en"}]:
        found.append("no language")
    policies = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    if len(policies) != 1 or f"style-src 'sha256-{digest}'" not in policies[0]:
        found.append("the policy's hash is not that of the stylesheet")
    elif not policies[0].startswith("default-src 'none'; ") or "script-src" in policies[0]:
        found.append("the policy allows too much")
    if re.search(r"@import|url\(|https?:", page.style):
        found.append("the stylesheet fetches something")
    return found
