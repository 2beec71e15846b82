"The docs site, staged as nbdev does and rendered by the preview: nothing broken, and the checker finds what is planted."
import re
import shutil
import subprocess
import sys

import pytest
from bs4 import BeautifulSoup

from conftest import PAGES, ROOT
from check_site import check_citations, check_labels, check_settings, problems


def test_nothing_is_broken(site): assert problems(site, ROOT / "nbs") == []


@pytest.mark.parametrize("page, old, new, complaint", [
    ("index.html", '<a href="', '<a href="nowhere.html">x</a><a href="', "no such file"),
    ("index.html", '<a href="', '<a href="00_paper.html#nowhere">x</a><a href="', "no such anchor"),
    ("08_inference.html", "</main>", '<img src="nowhere.png" alt="nothing"></main>', "no such file"),
    ("08_inference.html", "</main>", '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" alt=""></main>', "without alt text"),
    ("search.json", '"href": "index.html"', '"href": "nowhere.html"', "search.json"),
    ("llms.txt", "(gallery.html.md)", "(nowhere.html.md)", "llms.txt: nowhere.html.md: no such file"),
    ("gallery.html.md", "(results.html.md)", "(nowhere.html.md)", "gallery.html.md: nowhere.html.md: no such file"),
    ("try.html", "</main>", '<img src="https://example.org/counter.gif" alt="nothing"></main>', "try.html: loads https://example.org/counter.gif"),
    ("styles.css", "/* Reading. */", '@import url("https://example.org/font?a;b");', "styles.css: loads https://example.org/font?a;b"),
    ("01_utils.html", "</main>", "</main><!--", None),
], ids=["link", "anchor", "image", "alt text", "search", "llms.txt", "copy", "counter", "font", "harmless"])
def test_planted_fault_is_found(site, tmp_path, page, old, new, complaint):
    broken = tmp_path / "site"
    shutil.copytree(site, broken)
    text = (broken / page).read_text(encoding="utf-8")
    assert old in text
    (broken / page).write_text(text.replace(old, new, 1), encoding="utf-8")
    found = problems(broken)
    assert (any(complaint in problem for problem in found) if complaint else found == []), found


def test_page_without_text_or_place_is_found(site, tmp_path):
    shutil.copytree(site, tmp_path / "site")
    (tmp_path / "site/lonely.html").write_text("<html><body><main></main></body></html>", encoding="utf-8")
    found = problems(tmp_path / "site")
    assert "lonely.html: an empty page" in found and "lonely.html: the sidebar does not name it" in found


def test_reference_left_as_text_is_found_in_quartos_output(site, tmp_path):
    shutil.copytree(site, tmp_path / "site")
    for page in (tmp_path / "site").rglob("*.html"): # what Quarto calls itself; it leaves unresolved references as they are, or with question marks
        page.write_text(page.read_text(encoding="utf-8").replace('content="smalldocs', 'content="quarto-1.7 smalldocs'), encoding="utf-8")
    index = tmp_path / "site/index.html"
    index.write_text(index.read_text(encoding="utf-8").replace("</main>", "<p>see @fig-nowhere</p></main>", 1), encoding="utf-8")
    assert "index.html: @fig-nowhere is left as text" in problems(tmp_path / "site")


def test_page_without_a_copy_is_found(site, tmp_path):
    shutil.copytree(site, tmp_path / "site")
    (tmp_path / "site/gallery.html.md").unlink()
    assert any(problem.startswith("gallery.html.md: missing") for problem in problems(tmp_path / "site"))


def test_copies_hold_words_and_no_pictures(site):
    copy = (site / "04_generator.html.md").read_text(encoding="utf-8")
    assert copy.startswith("# The generator") and "class Generator" in copy and "*Picture: G of Fig. 4" in copy
    assert "This part needs JavaScript" in (site / "try.html.md").read_text(encoding="utf-8") and "<section" not in (site / "try.html.md").read_text(encoding="utf-8")
    for path in site.rglob("*.html.md"): assert not re.search(r"base64,[\w+/]{40}|!\[(png|jpeg)\]|^#\|", path.read_text(encoding="utf-8"), re.M), path.name


def test_copies_stand_beside_quartos_pages_too(site, tmp_path):
    "nbdev has Quarto call 00_paper's page paper.html; the preview does not."
    quartos = tmp_path / "site"
    shutil.copytree(site, quartos, ignore=shutil.ignore_patterns("*.md", "llms.txt"))
    for page in quartos.glob("0*.html"): page.rename(page.with_name(page.name[3:]))
    subprocess.run([sys.executable, ROOT / "tools/llms.py", quartos, "--sources", ROOT / "nbs"], check=True)
    assert "(paper.html.md)" in (quartos / "llms.txt").read_text(encoding="utf-8") and "(../training.html.md)" in (quartos / "tutorials/celeba.html.md").read_text(encoding="utf-8")
    assert not [problem for problem in problems(quartos) if ".md" in problem]


def test_nbdev_would_write_the_settings_that_are_committed(site):
    "nbdev_docs writes nbdev.yml anew: a line of our own in it would be lost on the published site."
    assert (site.parent.parent / "nbs/nbdev.yml").read_text(encoding="utf-8") == (ROOT / "nbs/nbdev.yml").read_text(encoding="utf-8")


def test_chapters_have_small_pictures(site):
    "Each page of the sidebar but the landing page itself has a card there, with a picture of at most 15 KB."
    landing = (site / "index.html").read_text(encoding="utf-8")
    for name in PAGES[1:]: assert re.search(rf'images/cards/{name.split("/")[-1]}\.webp(?s:.{{1,200}}?)href="{name}\.html"', landing), name
    for picture in (site / "images/cards").iterdir(): assert picture.stat().st_size < 15_000, picture.name


def test_shared_link_shows_our_picture(site):
    for name in ("index", "04_generator", "tutorials/celeba"):
        page = BeautifulSoup((site / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
        address = page.find("meta", attrs={"property": "og:image"})["content"]
        assert address.endswith("/srgan_nb/images/card.jpg") and (site / "images/card.jpg").is_file()
        assert page.find("link", rel="icon")["href"].endswith("images/favicon.svg")


def brightness(colour):
    "Relative luminance of `#rrggbb` or `r, g, b`, as WCAG 2 defines it."
    channels = [int(colour[i:i + 2], 16) for i in (1, 3, 5)] if colour.startswith("#") else map(int, colour.split(","))
    return sum(weight * (c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4) for weight, c in zip((0.2126, 0.7152, 0.0722), channels))


def test_palette_is_readable_in_both_themes():
    "Text of every colour stands out by 4.5 to 1 on every ground (WCAG 2, level AA)."
    light, dark = re.findall(r"\{([^}]*--srgan-page:[^}]*)\}", (ROOT / "nbs/styles.css").read_text(encoding="utf-8"))
    for theme in (light, dark):
        palette = dict(re.findall(r"--srgan-([\w-]+): ([^;]+);", theme))
        for ground in ("page", "panel"):
            for text in ("ink", "quiet", "accent-rgb"):
                darker, brighter = sorted(map(brightness, (palette[ground], palette[text])))
                assert (brighter + 0.05) / (darker + 0.05) >= 4.5, f"{text} on {ground}"


@pytest.fixture
def sources(tmp_path):
    shutil.copytree(ROOT / "nbs", tmp_path / "nbs", ignore=shutil.ignore_patterns("celeba-runs", "results-runs"))
    return tmp_path / "nbs"


@pytest.mark.parametrize("check, file, old, new, complaint", [
    (check_labels, "00_paper.ipynb", "@eq-", "@eq-no-", "has no label"),
    (check_citations, "00_paper.ipynb", "@kim2016deeply", "@kim2061deeply", "@kim2061deeply is not in references.bib"),
    (check_citations, "references.bib", "{kim2016deeply", "{shi2016real", "shi2016real stands there twice"),
    (check_citations, "_quarto.yml", "references.bib", "nowhere.bib", "is not in nowhere.bib"),
    (check_settings, "_quarto.yml", "page-navigation", "page-navigatoin", "unknown key website.page-navigatoin"),
    (check_settings, "_quarto.yml", "page-navigation: true", "page-navigation: maybe", "unknown value website.page-navigation: 'maybe'"),
    (check_settings, "_quarto.yml", "style: floating", "style: hovering", "unknown value website.sidebar.style: 'hovering'"),
    (check_settings, "_quarto.yml", "light: cosmo", "light: kosmo", "unknown value format.html.theme"),
    (check_settings, "_quarto.yml", "[source, issue]", "[source, complain]", "unknown value website.repo-actions"),
    (check_settings, "_quarto.yml", "toc-depth: 3", "toc-depth: deep", "unknown value format.html.toc-depth: 'deep'"),
    (check_settings, "_quarto.yml", "body-width", "body-breadth", "unknown key format.html.grid.body-breadth"),
    (check_settings, "_quarto.yml", "aria-label", "label", "unknown key website.navbar.right.label"),
    (check_settings, "nbdev.yml", "site-url", "site-adress", "unknown key website.site-adress"),
])
def test_fault_in_the_sources_is_found(sources, check, file, old, new, complaint):
    path = sources / file
    assert old in path.read_text(encoding="utf-8") and list(check(sources)) == []
    text = path.read_text(encoding="utf-8").replace(old, new, 1)
    path.unlink() # _quarto.yml is a link
    path.write_text(text, encoding="utf-8")
    found = list(check(sources))
    assert any(complaint in problem for problem in found), found
