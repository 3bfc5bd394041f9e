"""What every HTML page is made with: Jinja with autoescape, style and script with their hashes, backticks as code."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from grader.text import clean


def ticks(text: str) -> Markup:
    """Escape `text` and set what stands between backticks as code. Harmless for any text."""
    parts = clean(text).split("`")
    if len(parts) % 2 == 0:  # an odd backtick: leave all as they are
        return escape(clean(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(parts)
    )


@functools.cache
def environment(templates_dir: Path) -> Environment:
    """Return the Jinja environment of all pages."""
    jinja = Environment(
        loader=FileSystemLoader(templates_dir),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters["ticks"] = ticks
    return jinja


@functools.cache
def stylesheet(templates_dir: Path, *names: str) -> tuple[Markup, str]:
    """Return the joined stylesheet and the base64 sha256 that the page's content security policy names."""
    text = "".join((templates_dir / name).read_text(encoding="utf-8") for name in names)
    css = re.sub(r"\s*\n\s*", "", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL))
    if "<" in css or "@import" in css or "url(" in css:
        raise ValueError("a stylesheet of a report holds no '<', no @import and no url()")
    return Markup(css), base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()


@functools.cache
def script(templates_dir: Path, name: str) -> tuple[Markup, str]:
    """Return a script and the base64 sha256 that the page's content security policy names."""
    text = (templates_dir / name).read_text(encoding="utf-8").strip()
    if "</" in text or "<!--" in text:
        raise ValueError("a script of a report holds neither '</' nor '<!--'")
    return Markup(text), base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
