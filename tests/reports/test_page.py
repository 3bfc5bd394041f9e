import pytest

from grader.reports.page import dead_links, headings, lab_page, page_text, parts, slug
from tests.reports.lint import Page, faults
from tests.reports.samples import XSS

PAGE = """# Forward noise process

What **every** lab needs, *once*: see [the formula](#the-formula-in-the-paper-s-symbols).

## The formula, in the paper's symbols

`x_t = √ᾱ_t·x_0 + √(1−ᾱ_t)·ε`, from [DDPM](https://arxiv.org/abs/2006.11239).

| paper | diffusers |
|---|---|
| ᾱ_t | `alphas_cumprod[t]` |

```python
# a * b * c
return alpha_bar[t]
```

## add_noise
## add_noise

![a plot](plot.png)
"""


def test_slugs():
    assert slug("add_noise") == "add-noise"
    assert slug("  What to say, in an interview? ") == "what-to-say-in-an-interview"
    assert slug("`ᾱ_t` and x_0") == "ᾱ-t-and-x-0"
    assert slug("!?") == "section"


def test_headings_links_and_tables(templates):
    html = lab_page("Forward noise process", PAGE, templates)
    assert faults(html) == []
    page = Page(html)
    ids = [attrs.get("id") for tag, attrs in page.elements if tag in ("h1", "h2")]
    assert ids == list(headings(PAGE))
    assert ids == ["forward-noise-process", "the-formula-in-the-paper-s-symbols", "add-noise", "add-noise-2"]
    assert len(page.all("table")) == 1 and page.all("img") == []


def test_a_page_without_title_gets_one(templates):
    assert faults(lab_page("Schedules", "Text.", templates)) == []


def test_dead_links_are_found():
    assert dead_links(PAGE) == []
    assert dead_links("# A\n[x](#a) [y](#b)") == ["#b"]


DRAWING = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><title>Two boxes</title>
<g class="lab07 resnet"><rect width="4" height="4"/></g><g class="lab08"><text y="9">B</text></g></svg>
"""


@pytest.mark.parametrize(("part", "on"), [("#lab07", [True, False]), ("#resnet", [True, False]), ("", [False, False])])
def test_a_drawing_is_part_of_the_page_and_its_named_part_stands_out(part, on, templates):
    markdown = f'# Nets\n\n![A "box"](../handbook/net.svg{part})\n'
    html = lab_page("Nets", markdown, templates, drawings={"../handbook/net.svg": DRAWING})
    assert faults(html) == []
    page = Page(html)
    groups = [attrs["class"].split() for attrs in page.all("g")]
    assert ["on" in names for names in groups] == on
    (svg,) = (attrs for attrs in page.all("svg") if attrs.get("class") == "drawing")
    assert svg["aria-label"] == 'A "box"'
    assert "[A" not in html and "Two boxes" not in html


def test_the_parts_of_a_drawing():
    assert parts(DRAWING) == {"lab07", "resnet", "lab08"}


@pytest.mark.parametrize("payload", XSS)
def test_html_in_markdown_stays_text(payload, templates):
    html = lab_page(payload, f"# {payload}\n\n{payload}\n\n    {payload}\n\n[x]({payload})", templates)
    assert [fault for fault in faults(html) if "leads nowhere" not in fault] == []


def test_text_for_the_terminal():
    text = page_text(PAGE)
    assert "Forward noise process\n=====================\n" in text
    assert "What every lab needs, once: see the formula." in text
    assert "DDPM (https://arxiv.org/abs/2006.11239)" in text
    assert "`x_t = √ᾱ_t·x_0 + √(1−ᾱ_t)·ε`" in text
    assert "    # a * b * c\n    return alpha_bar[t]\n" in text and "```" not in text
    assert "\x1b" not in page_text("\x1b[31mred")
