"""`grade read`: the labs' pages and the handbook's, on the terminal and in the browser."""

from urllib.parse import unquote

import pytest

from tests import toy
from tests.reports.lint import Page, faults
from tests.toy import ROOT, grade

OVERVIEW = """# What it is about

First [the lab](../lab01_toy/page.md#toys), then [the rest](rest.md).
"""


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """The toy course with a handbook of two pages."""
    root = toy.make(tmp_path_factory.mktemp("read") / "toy").root
    handbook = root / "exercises" / "handbook"
    handbook.mkdir()
    (handbook / "overview.md").write_text(OVERVIEW, encoding="utf-8")
    (handbook / "rest.md").write_text("# All the rest\n\nNothing.\n", encoding="utf-8")
    return root


def test_without_a_page_it_lists_them_all(tmp_path, course):
    done = grade(tmp_path, "read", course=course)
    assert done.returncode == 0
    assert [line.split(maxsplit=1) for line in done.stdout.splitlines()] == [
        ["overview", "What it is about"],
        ["rest", "All the rest"],
        ["lab01", "Toys"],
    ]
    assert not (tmp_path / ".grade").exists()


def test_a_handbook_page_is_read_by_its_name_and_its_links_say_what_to_read(tmp_path, course):
    done = grade(tmp_path, "read", "overview", course=course)
    assert done.returncode == 0
    assert "First the lab (grade read lab01), then the rest (grade read rest)." in done.stdout


def test_a_labs_page_is_read_by_its_id(tmp_path, course):
    done = grade(tmp_path, "read", "lab01", course=course)
    assert (done.returncode, done.stdout) == (0, "Toys\n====\n\nScale, then jitter.\n")


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("overveiw", "Did you mean overview?"),
        ("lab1", "Did you mean lab01?"),
        ("1", "Did you mean lab01?"),
        ("../overview", "Did you mean overview?"),
        ("xyzzy", "`grade read` lists the pages."),
    ],
)
def test_an_unknown_page_gets_a_suggestion_from_both_kinds(tmp_path, course, word, says):
    done = grade(tmp_path, "read", word, course=course)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"grade: there is no page {word!r}. {says}\n"


def test_open_writes_all_pages_so_that_links_lead_somewhere(tmp_path, course):
    done = grade(tmp_path, "read", "overview", "--open", course=course, SSH_CONNECTION="somewhere")
    assert (done.returncode, done.stdout) == (0, ".grade/pages/overview.html\n")
    folder = tmp_path / ".grade" / "pages"
    assert sorted(path.name for path in folder.iterdir()) == ["lab01.html", "overview.html", "rest.html"]
    hrefs = [a["href"] for a in Page((folder / "overview.html").read_text("utf-8")).all("a")]
    assert hrefs[1:] == ["lab01.html#toys", "rest.html"]


def test_open_needs_a_page(tmp_path, course):
    done = grade(tmp_path, "read", "--open", course=course)
    assert (done.returncode, done.stderr) == (2, "grade: which page? `grade read` lists them.\n")


def test_a_handbook_page_needs_a_title(tmp_path):
    root = toy.make(tmp_path / "toy").root
    (root / "exercises" / "handbook").mkdir()
    (root / "exercises" / "handbook" / "plain.md").write_text("No heading.\n", encoding="utf-8")
    done = grade(tmp_path, "read", course=root)
    assert done.returncode == 4
    assert done.stderr == "grade: handbook/plain.md needs a title: a line that starts with '# '.\n"


def test_the_courses_own_pages_keep_our_promises_and_their_links_lead_somewhere(tmp_path):
    done = grade(tmp_path, "read", "overview", "--open", course=ROOT, SSH_CONNECTION="somewhere")
    assert done.returncode == 0, done.stderr
    pages = {
        path.name: Page(path.read_text(encoding="utf-8")) for path in (tmp_path / ".grade" / "pages").glob("*.html")
    }
    assert {"overview.html", "objective.html", "forward-and-reverse.html", "lab01.html"} <= pages.keys()
    ids = {name: {attrs["id"] for _, attrs in page.elements if "id" in attrs} for name, page in pages.items()}
    for name, page in pages.items():
        assert faults((tmp_path / ".grade" / "pages" / name).read_text(encoding="utf-8")) == [], name
        for link in page.all("a"):
            target, _, anchor = link["href"].partition("#")
            if target.startswith(("http:", "https:")):
                continue
            assert not anchor or unquote(anchor) in ids[target or name], f"{name}: {link['href']}"
            assert (target or name) in pages, f"{name}: {link['href']}"
