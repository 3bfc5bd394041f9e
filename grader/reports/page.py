"""A page of the course, a lab's or the handbook's: markdown as one self-contained HTML file, or as text for a terminal.

Links from page to page stand in the markdown as paths from file to file. `links` says which page each path means:
`{"../lab01_forward_noise/page.md": "lab01"}`. Drawings are SVG files beside the handbook's pages, included as pictures
are: `![what it shows](../handbook/network.svg#lab07)` shows the drawing with all its parts of class `lab07` coloured.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from grader.reports.pages import environment, stylesheet
from grader.text import clean, clean_line


def slug(heading: str) -> str:
    """Return a heading's id: lower case, everything but letters and digits becomes "-"."""
    return re.sub(r"[\W_]+", "-", heading.lower()).strip("-") or "section"


def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def _text(token: Token) -> str:
    """Return the plain text of an inline token."""
    return "".join(child.content or (" " if child.type.endswith("break") else "") for child in token.children or [])


def _headings(tokens: Sequence[Token]) -> list[tuple[int, str, str]]:
    """Give every heading its id and return (level, id, text) of each. A second heading of one name gets "-2"."""
    found, times = [], dict[str, int]()
    for token, inline in pairwise(tokens):
        if token.type != "heading_open":
            continue
        text = _text(inline)
        name = slug(text)
        times[name] = times.get(name, 0) + 1
        id = name if times[name] == 1 else f"{name}-{times[name]}"
        token.attrSet("id", id)
        found.append((int(token.tag[1:]), id, text))
    return found


def headings(markdown: str) -> dict[str, str]:
    """Return the headings of a page by their ids, which are what `see` may name."""
    return {id: text for _, id, text in _headings(_parser().parse(clean(markdown)))}


def dead_links(markdown: str) -> list[str]:
    """Return the in-page links that lead nowhere."""
    tokens = _parser().parse(clean(markdown))
    known = {id for _, id, _ in _headings(tokens)}
    return [
        href
        for token in tokens
        for child in token.children or []
        if (href := str(child.attrGet("href") or "")).startswith("#") and unquote(href[1:]) not in known
    ]


_SVG = "http://www.w3.org/2000/svg"
ET.register_namespace("", _SVG)  # or every name is written with a prefix, which HTML does not know


def parts(drawing: str) -> set[str]:
    """Return the names of a drawing's parts: all classes in it."""
    return {name for element in ET.fromstring(drawing).iter() for name in element.get("class", "").split()}


def _drawing(svg: str, says: str, part: str) -> str:
    """Return a drawing for HTML, in the page's colours: its parts of class `part` stand out."""
    root = ET.fromstring(svg)
    for title in root.findall(f"{{{_SVG}}}title"):
        root.remove(title)
    for element in root.iter():
        names = element.get("class", "").split()
        if part in names:
            element.set("class", " ".join([*names, "on"]))
    root.set("class", "drawing")
    root.set("role", "img")
    root.set("aria-label", says)
    drawn = ET.tostring(root, encoding="unicode", short_empty_elements=False)
    return f'<span class="scroll" tabindex="0" role="group" aria-label="Drawing">{drawn}</span>'


def lab_page(
    title: str,
    markdown: str,
    templates_dir: Path,
    links: Mapping[str, str] | None = None,
    drawings: Mapping[str, str] | None = None,
) -> str:
    """Return the page as HTML: no script, nothing fetched. HTML inside the markdown is shown as text.

    A link to another page leads to `<its name>.html` in the same folder. `drawings` are SVG by their paths.
    """
    parser = _parser()
    tokens = parser.parse(clean(markdown))
    headings = _headings(tokens)
    for token in tokens:
        children = []
        for child in token.children or []:
            if child.type == "image":
                path, _, part = str(child.attrGet("src")).partition("#")
                if drawings and path in drawings:
                    children.append(Token("html_inline", "", 0, content=_drawing(drawings[path], child.content, part)))
                else:  # nothing is fetched: the picture's text stands in its place
                    children.append(Token("text", "", 0, content=f"[{child.content}]"))
                continue
            if child.type == "link_open" and not (href := str(child.attrGet("href"))).startswith("#"):
                child.attrSet("rel", "noopener")
                path, hash, anchor = href.partition("#")
                if links and path in links:
                    child.attrSet("href", f"{links[path]}.html{hash}{anchor}")
            children.append(child)
        if token.children is not None:
            token.children = children
    has_title = bool(headings) and headings[0][0] == 1
    body = parser.renderer.render(tokens, parser.options, {})
    # Wide things scroll by themselves, so that the page does not.
    body = body.replace("<table>", '<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>')
    body = body.replace("</table>", "</table></div>").replace("<pre>", '<pre tabindex="0">')
    css, css_hash = stylesheet(templates_dir, "tokens.css", "page.css")
    template = environment(templates_dir).get_template("page.html")
    return (
        template.render(
            css=css,
            css_hash=css_hash,
            title=clean_line(title),
            has_title=has_title,
            contents=[(id, text) for level, id, text in headings if level == 2],
            body=Markup(body),
        )
        + "\n"
    )


_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#]*)([^)\s]*)[^)]*\)")
_INLINE = (
    (re.compile(r"!\[([^\]]*)\]\([^)]*\)"), r"[\1]"),
    (re.compile(r"\[([^\]]*)\]\(#[^)]*\)"), r"\1"),
    (re.compile(r"\*\*(.+?)\*\*"), r"\1"),
    (re.compile(r"(?<![\w*])\*(?!\s)(.+?)(?<!\s)\*(?![\w*])"), r"\1"),
)


def page_text(markdown: str, links: Mapping[str, str] | None = None) -> str:
    """Return the page for reading in a terminal: headings underlined, links spelled out, code indented."""

    def spell_out(link: re.Match[str]) -> str:
        text, path, anchor = link.groups()
        return f"{text} (grade read {links[path]})" if links and path in links else f"{text} ({path}{anchor})"

    lines: list[str] = []
    fence = ""
    for line in clean(markdown).split("\n"):
        mark = re.match(r" {0,3}(`{3,}|~{3,})", line)
        if fence:
            if mark and mark[1].startswith(fence) and line.strip() == mark[1]:
                fence = ""
            else:
                lines.append(f"    {line}".rstrip())
            continue
        if mark:
            fence = mark[1]
            continue
        heading = re.match(r" {0,3}(#{1,6})\s+(.*?)\s*#*\s*$", line)
        # What stands between backticks is code, and stays as it is.
        parts = (heading[2] if heading else line).split("`")
        for i in range(0, len(parts), 2):
            for pattern, put in _INLINE:
                parts[i] = pattern.sub(put, parts[i])
            parts[i] = _LINK.sub(spell_out, parts[i])
        text = "`".join(parts)
        if heading:
            text = text.replace("`", "")
            if lines and lines[-1]:
                lines.append("")
            lines.append(text)
            lines.append({1: "=", 2: "-"}.get(len(heading[1]), "·") * len(text))
        else:
            lines.append(text.rstrip())
    return "\n".join(lines).strip("\n") + "\n"
