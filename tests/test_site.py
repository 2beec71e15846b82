"""The docs site, prepared as nbdev does and rendered by the preview, has no faults.

The checker finds faults that the tests add on purpose.
"""
import re
import shutil
import subprocess
import sys

import pytest
from bs4 import BeautifulSoup

from check_site import check_citations, check_labels, check_settings, problems
from conftest import PAGES, ROOT


def read(path):
    return path.read_text(encoding="utf-8")


def replace_once(path, old, new):
    "Replace the first `old` in a text file. A symbolic link becomes a copy first, so that its target stays the same."
    text = read(path)
    assert old in text
    path.unlink()
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_site_has_no_faults(site):
    assert problems(site, ROOT / "nbs") == []


# The checker

@pytest.fixture
def site_copy(site, tmp_path):
    "A copy of the site that a test may damage."
    return shutil.copytree(site, tmp_path / "site")


EMPTY_ALT = '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" alt="">'
FOREIGN_IMAGE = '<img src="https://example.org/counter.gif" alt="nothing">'
FAULTS = dict(
    link=("index.html", '<a href="', '<a href="nowhere.html">x</a><a href="', "no such file"),
    anchor=("index.html", '<a href="', '<a href="00_paper.html#nowhere">x</a><a href="', "no such anchor"),
    image=("11_inference.html", "</main>", '<img src="nowhere.png" alt="nothing"></main>', "no such file"),
    alt_text=("11_inference.html", "</main>", f"{EMPTY_ALT}</main>", "without alt text"),
    search=("search.json", '"href": "index.html"', '"href": "nowhere.html"', "search.json"),
    llms_txt=("llms.txt", "(gallery.html.md)", "(nowhere.html.md)", "llms.txt: nowhere.html.md: no such file"),
    copy=(
        "gallery.html.md", "(results.html.md)", "(nowhere.html.md)",
        "gallery.html.md: nowhere.html.md: no such file",
    ),
    counter=(
        "try.html", "</main>", f"{FOREIGN_IMAGE}</main>",
        "try.html: loads https://example.org/counter.gif",
    ),
    font=(
        "styles.css", "/* Reading. */", '@import url("https://example.org/font?a;b");',
        "styles.css: loads https://example.org/font?a;b",
    ),
)


@pytest.mark.parametrize("page, old, new, message", FAULTS.values(), ids=FAULTS)
def test_a_fault_in_the_site_is_found(site_copy, page, old, new, message):
    replace_once(site_copy / page, old, new)
    faults = problems(site_copy)
    assert any(message in fault for fault in faults), faults


def test_an_open_comment_after_the_text_is_no_fault(site_copy):
    replace_once(site_copy / "01_utils.html", "</main>", "</main><!--")
    assert problems(site_copy) == []


def test_a_page_without_text_that_the_sidebar_lacks_is_found(site_copy):
    (site_copy / "lonely.html").write_text("<html><body><main></main></body></html>", encoding="utf-8")
    faults = problems(site_copy)
    assert "lonely.html: an empty page" in faults
    assert "lonely.html: the sidebar does not name it" in faults


def test_a_reference_left_as_text_is_found_in_quartos_output(site_copy):
    "Quarto leaves unresolved references as they are, or adds question marks. Its pages name it as their generator."
    for page in site_copy.rglob("*.html"):
        page.write_text(read(page).replace('content="smalldocs', 'content="quarto-1.7 smalldocs'), encoding="utf-8")
    replace_once(site_copy / "index.html", "</main>", "<p>see @fig-nowhere</p></main>")
    assert "index.html: @fig-nowhere is left as text" in problems(site_copy)


def test_a_page_without_its_markdown_copy_is_found(site_copy):
    (site_copy / "gallery.html.md").unlink()
    assert any(fault.startswith("gallery.html.md: missing") for fault in problems(site_copy))


@pytest.fixture
def sources(tmp_path):
    "A copy of the notebooks' folder that a test may damage."
    ignored = shutil.ignore_patterns("celeba-runs", "results-runs")
    return shutil.copytree(ROOT / "nbs", tmp_path / "nbs", ignore=ignored)


@pytest.mark.parametrize("check, file, old, new, message", [
    (check_labels, "00_paper.ipynb", "@eq-", "@eq-no-", "has no label"),
    (
        check_citations, "00_paper.ipynb", "@kim2016deeply", "@kim2061deeply",
        "@kim2061deeply is not in references.bib",
    ),
    (check_citations, "references.bib", "{kim2016deeply", "{shi2016real", "shi2016real stands there twice"),
    (check_citations, "_quarto.yml", "references.bib", "nowhere.bib", "is not in nowhere.bib"),
    (
        check_settings, "_quarto.yml", "page-navigation", "page-navigatoin",
        "unknown key website.page-navigatoin",
    ),
    (
        check_settings, "_quarto.yml", "page-navigation: true", "page-navigation: maybe",
        "unknown value website.page-navigation: 'maybe'",
    ),
    (
        check_settings, "_quarto.yml", "style: floating", "style: hovering",
        "unknown value website.sidebar.style: 'hovering'",
    ),
    (check_settings, "_quarto.yml", "light: cosmo", "light: kosmo", "unknown value format.html.theme"),
    (
        check_settings, "_quarto.yml", "[source, issue]", "[source, complain]",
        "unknown value website.repo-actions",
    ),
    (
        check_settings, "_quarto.yml", "toc-depth: 3", "toc-depth: deep",
        "unknown value format.html.toc-depth: 'deep'",
    ),
    (
        check_settings, "_quarto.yml", "body-width", "body-breadth",
        "unknown key format.html.grid.body-breadth",
    ),
    (check_settings, "_quarto.yml", "aria-label", "label", "unknown key website.navbar.right.label"),
    (check_settings, "nbdev.yml", "site-url", "site-adress", "unknown key website.site-adress"),
])
def test_a_fault_in_the_sources_is_found(sources, check, file, old, new, message):
    assert list(check(sources)) == []
    replace_once(sources / file, old, new)
    faults = list(check(sources))
    assert any(message in fault for fault in faults), faults


# Markdown copies of the pages

def test_copies_hold_words_and_no_pictures(site):
    copy = read(site / "04_generator.html.md")
    assert copy.startswith("# The generator")
    assert "class Generator" in copy
    assert "*Picture: G of Fig. 4" in copy
    try_page = read(site / "try.html.md")
    assert "This part needs JavaScript" in try_page
    assert "<section" not in try_page
    for path in site.rglob("*.html.md"):
        assert not re.search(r"base64,[\w+/]{40}|!\[(png|jpeg)\]|^#\|", read(path), re.M), path.name


def test_quartos_pages_get_copies_as_well(site, tmp_path):
    "nbdev has Quarto name 00_paper's page paper.html. The preview does not rename pages."
    quartos = tmp_path / "site"
    shutil.copytree(site, quartos, ignore=shutil.ignore_patterns("*.md", "llms.txt"))
    for page in quartos.glob("0*.html"):
        page.rename(page.with_name(page.name[3:]))
    subprocess.run([sys.executable, ROOT / "tools/llms.py", quartos, "--sources", ROOT / "nbs"], check=True)
    assert "(paper.html.md)" in read(quartos / "llms.txt")
    assert "(../training.html.md)" in read(quartos / "tutorials/celeba.html.md")
    assert not [fault for fault in problems(quartos) if ".md" in fault]


# Settings and pictures

def test_committed_settings_are_those_nbdev_writes(site):
    "nbdev_docs overwrites nbdev.yml, so a line of our own in it would be lost on the published site."
    assert read(site.parent.parent / "nbs/nbdev.yml") == read(ROOT / "nbs/nbdev.yml")


def test_chapters_have_small_pictures(site):
    "Each page in the sidebar, except the landing page itself, has a card there, with a picture of at most 15 KB."
    landing = read(site / "index.html")
    for name in PAGES[1:]:
        picture, page = f"images/cards/{name.split('/')[-1]}", f"{name}.html"
        assert re.search(rf'{picture}\.webp(?s:.{{1,200}}?)href="{page}"', landing), name
    for picture in (site / "images/cards").iterdir():
        assert picture.stat().st_size < 15_000, picture.name


def test_a_shared_link_shows_our_picture(site):
    for name in ("index", "04_generator", "tutorials/celeba"):
        page = BeautifulSoup(read(site / f"{name}.html"), "html.parser")
        address = page.find("meta", attrs={"property": "og:image"})["content"]
        assert address.endswith("/srgan_nb/images/card.jpg")
        assert (site / "images/card.jpg").is_file()
        assert page.find("link", rel="icon")["href"].endswith("images/favicon.svg")


def relative_luminance(colour):
    "The relative luminance of `#rrggbb` or `r, g, b`, as WCAG 2 defines it."
    if colour.startswith("#"):
        channels = [int(colour[i:i + 2], 16) for i in (1, 3, 5)]
    else:
        channels = map(int, colour.split(","))
    linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear))


def test_palette_is_readable_in_both_themes():
    "Each text colour has a contrast of at least 4.5 to 1 on each background (WCAG 2, level AA)."
    light, dark = re.findall(r"\{([^}]*--srgan-page:[^}]*)\}", read(ROOT / "nbs/styles.css"))
    for theme in (light, dark):
        palette = dict(re.findall(r"--srgan-([\w-]+): ([^;]+);", theme))
        for ground in ("page", "panel"):
            for text in ("ink", "quiet", "accent-rgb"):
                darker, brighter = sorted(map(relative_luminance, (palette[ground], palette[text])))
                assert (brighter + 0.05) / (darker + 0.05) >= 4.5, f"{text} on {ground}"
