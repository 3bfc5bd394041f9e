"""The page of a term: students by labs, what is missing, which mistakes came again. It holds names: for staff."""

from __future__ import annotations

from html import escape

from grader.cohort.term import HOW_TO_TELL, Term, table
from grader.reports.words import points
from grader.text import clean_line

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem;color-scheme:light dark}
table{border-collapse:collapse}th,td{padding:.25rem .6rem;border-bottom:1px solid #8886;text-align:left}
.num{text-align:right;font-variant-numeric:tabular-nums}.none{opacity:.6}
"""
MISTAKES = 30


def term_page(term: Term) -> str:
    """Return the page."""
    head, *lines = table(term)
    first, last = 3, 3 + len(term.labs) + 1
    rows = []
    for line in lines:
        cells = []
        for place, cell in enumerate(line):
            if first <= place < last:
                shown = points(cell) if isinstance(cell, float | int) else '<span class="none">–</span>'
                cells.append(f'<td class="num">{shown}</td>')
            else:
                cells.append(f"<td>{_text(cell)}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    labs = "; ".join(f"{lab.id} {lab.title} ({points(lab.possible)} points)" for lab in term.labs)
    mistakes = "".join(f"<li>{_text(says)}: {count}</li>\n" for says, count in term.mistakes[:MISTAKES])
    doubts = f"<p>{len(term.doubts)} in doubt. {_text(HOW_TO_TELL)}</p>\n" if term.doubts else ""
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>Term: {len(term.labs)} labs</title>\n<style>{STYLE}</style>\n<h1>Term</h1>\n<p>{_text(labs)}</p>\n"
        f"<table><thead><tr>{''.join(f'<th>{_text(cell)}</th>' for cell in head)}</tr></thead>\n"
        f"<tbody>{chr(10).join(rows)}</tbody></table>\n{doubts}"
        f"<h2>Known mistakes over the term</h2>\n<ul>\n{mistakes or '<li>None was named.</li>'}</ul>\n</html>\n"
    )


def _text(value: object) -> str:
    return escape(clean_line(str(value)))
