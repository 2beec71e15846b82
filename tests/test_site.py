"""The docs site, prepared as nbdev does and rendered by the preview, has no faults.

The checker finds faults that the tests add on purpose.
"""
import json
import re
import shutil

import pytest
from bs4 import BeautifulSoup

from check_site import Site, check_citations, check_code, check_labels, check_settings, problems
from conftest import PAGES, ROOT, build_quarto_page
from llms import page_of


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


# The checker, on one page with Quarto's HTML, because the preview's HTML differs and takes long to read

@pytest.fixture
def quarto_page(tmp_path):
    return build_quarto_page(tmp_path / "quarto")


EMPTY_ALT = '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" alt="">'
BADGE = (
    '<p><a href="https://colab.research.google.com/github/OWNER/srgan_nb"><img src="badge.svg" class="img-fluid" '
    'alt="Open in Colab"></a> <em>Reading time about 5 minutes.</em></p>'
)
LONE_BADGE = (
    '<div class="quarto-figure"><figure class="figure"><p><a href="index.html"><img src="badge.svg" '
    'class="figure-img"></a></p><figcaption>Open in Colab</figcaption></figure></div>'
)
FAULTS = dict(
    link=("index.html", "</main>", '<a href="nowhere.html">x</a></main>', "nowhere.html: no such file"),
    anchor=("index.html", "</main>", '<a href="#nowhere">x</a></main>', "no such anchor"),
    image=("index.html", "</main>", '<img src="nowhere.png" alt="nothing"></main>', "no such file"),
    alt_text=("index.html", "</main>", f"{EMPTY_ALT}</main>", "without alt text"),
    lone_badge=("index.html", BADGE, LONE_BADGE, "without alt text"),
    search=("search.json", '"href": "index.html"', '"href": "nowhere.html"', "search.json"),
    llms_txt=("llms.txt", "(index.html.md)", "(nowhere.html.md)", "llms.txt: nowhere.html.md: no such file"),
    copy=("index.html.md", "(#eq-wide)", "(nowhere.md)", "index.html.md: nowhere.md: no such file"),
    copy_link=("index.html", 'href="index.html.md"', 'href="index.html"', "index.html: no link to its copy"),
    raw_in_copy=("index.html.md", "## Formulas", "## Formulas [-@ledig2017photo]", "@ledig2017photo is left as text"),
    font=(
        "styles.css", "/* Reading. */", '@import url("https://example.org/font?a;b");',
        "styles.css: loads https://example.org/font?a;b",
    ),
    reference=("index.html", "<em>Reading time", "<em>see @fig-nowhere", "@fig-nowhere is left as text"),
    raw_link=("index.html", "<em>Reading time", "<em>[[psnr](https://x.org/a)](b)", "raw Markdown: ](http"),
    raw_div=("index.html", "<em>Reading time", "<em>::: {.callout-note}", "raw Markdown: ::: "),
    raw_label=("index.html", "<em>Reading time", "<em>{#eq-1}", "raw Markdown: {#e"),
    file_name=("index.html", "</main>", '<a href="index.html">04_generator</a></main>', "a link reads 04_generator"),
    contents=("index.html", '<a href="#formulas" class="nav-link">', "<a>", "no table of contents"),
    require=(
        "index.html", "</head>", '<script src="https://cdn.example.org/require.min.js"></script></head>',
        "loads https://cdn.example.org/require.min.js",
    ),
)


@pytest.mark.parametrize("page, old, new, message", FAULTS.values(), ids=FAULTS)
def test_a_fault_in_the_site_is_found(quarto_page, page, old, new, message):
    assert problems(quarto_page) == []
    replace_once(quarto_page / page, old, new)
    faults = problems(quarto_page)
    assert any(message in fault for fault in faults), faults


def test_a_link_to_the_published_site_is_one_to_a_page_here(quarto_page):
    assert Site(quarto_page, "https://x.org/me").problem_of("index.html", "https://x.org/me/index.html#code") is None
    assert Site(quarto_page, "https://x.org/me").problem_of("index.html", "https://x.org/me/no.html") is not None
    assert Site(quarto_page, "https://x.org/me").problem_of("index.html", "https://x.org/you/no.html") is None


def test_what_the_page_try_loads_from_elsewhere_is_found(quarto_page):
    page = read(quarto_page / "index.html")
    foreign = '<img src="https://example.org/counter.gif" alt="nothing"></main>'
    (quarto_page / "try.html").write_text(page.replace("</main>", foreign, 1), encoding="utf-8")
    assert "try.html: loads https://example.org/counter.gif" in problems(quarto_page)


def test_an_open_comment_after_the_text_is_no_fault(quarto_page):
    replace_once(quarto_page / "index.html", "</main>", "</main><!--")
    assert problems(quarto_page) == []


def test_a_page_without_text_that_the_sidebar_lacks_is_found(quarto_page):
    (quarto_page / "lonely.html").write_text("<html><body><main></main></body></html>", encoding="utf-8")
    faults = problems(quarto_page)
    assert "lonely.html: an empty page" in faults
    assert "lonely.html: the sidebar does not name it" in faults


def test_a_page_without_its_markdown_copy_is_found(quarto_page):
    (quarto_page / "index.html.md").unlink()
    assert any(fault.startswith("index.html.md: missing") for fault in problems(quarto_page))


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
    assert "[Picture: Head, a framed block" in copy
    try_page = read(site / "try.html.md")
    assert "This part needs JavaScript" in try_page
    assert "<section" not in try_page
    for path in site.rglob("*.html.md"):
        assert not re.search(r"base64,[\w+/]{40}|!\[|^#\|", read(path), re.M), path.name


def test_quarto_drops_the_numbers_of_chapters(tmp_path):
    "nbdev has Quarto name 00_paper's page paper.html. The preview keeps the number."
    (tmp_path / "paper.html").touch()
    (tmp_path / "01_utils.html").touch()
    assert page_of(tmp_path, "00_paper") == "paper.html"
    assert page_of(tmp_path, "01_utils") == "01_utils.html"
    with pytest.raises(FileNotFoundError, match="02_data"):
        page_of(tmp_path, "02_data")


def test_copy_of_quartos_page_keeps_numbers_anchors_and_references(quarto_page):
    copy = read(quarto_page / "index.html.md")
    assert '## Formulas <a id="formulas"></a>' in copy
    assert "([2017](#ref-ledig2017photo))" in copy and '<a id="ref-ledig2017photo"></a>Ledig, Christian' in copy
    assert "[Equation 1](#eq-wide)" in copy.replace("\xa0", " ") and '<a id="eq-wide"></a>\n\n$$' in copy
    assert "```python\ndef pixel_loss" in copy and '<a id="pixel_loss"></a>' in copy


@pytest.fixture
def one_chapter(tmp_path):
    "Sources of one chapter, `index`, which exports `pixel_loss`. Its page is the one with Quarto's HTML."
    cell = dict(cell_type="code", source=["#| exports losses\n", "def pixel_loss(sr, hr):\n"])
    folder = tmp_path / "nbs"
    folder.mkdir()
    (folder / "index.ipynb").write_text(json.dumps(dict(cells=[cell])), encoding="utf-8")
    return folder


@pytest.mark.parametrize("old, new, message", [
    ("pixel_loss(sr, hr):</span>", "no_loss(sr, hr):</span>", "the code of `def pixel_loss` is not on the page"),
    ("tensor(0.2500)", "![ ! -e /content ] || pip", "shows the cell that installs the package in Colab"),
])
def test_exported_code_must_show_and_install_cells_must_not(quarto_page, one_chapter, old, new, message):
    "nbdev leaves cells marked `export` out, so a chapter needs `exports`."
    assert list(check_code(Site(quarto_page), one_chapter)) == []
    replace_once(quarto_page / "index.html", old, new)
    assert list(check_code(Site(quarto_page), one_chapter)) == [f"index.html: {message}"]


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
