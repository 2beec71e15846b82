"The docs site, staged as nbdev does and rendered by the preview: nothing broken, and the checker finds what is planted."
import shutil

import pytest

from conftest import ROOT
from check_site import check_keys, check_labels, problems


def test_nothing_is_broken(site): assert problems(site, ROOT / "nbs") == []


@pytest.mark.parametrize("page, old, new, complaint", [
    ("index.html", '<a href="', '<a href="nowhere.html">x</a><a href="', "no such file"),
    ("index.html", '<a href="', '<a href="00_paper.html#nowhere">x</a><a href="', "no such anchor"),
    ("08_inference.html", "</main>", '<img src="nowhere.png" alt="nothing"></main>', "no such file"),
    ("08_inference.html", "</main>", '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" alt=""></main>', "without alt text"),
    ("search.json", '"href": "index.html"', '"href": "nowhere.html"', "search.json"),
    ("01_utils.html", "</main>", "</main><!--", None),
], ids=["link", "anchor", "image", "alt text", "search", "harmless"])
def test_planted_fault_is_found(site, tmp_path, page, old, new, complaint):
    broken = tmp_path / "site"
    shutil.copytree(site, broken)
    text = (broken / page).read_text()
    assert old in text
    (broken / page).write_text(text.replace(old, new, 1))
    found = problems(broken)
    assert (any(complaint in problem for problem in found) if complaint else found == []), found


def test_page_without_text_or_place_is_found(site, tmp_path):
    shutil.copytree(site, tmp_path / "site")
    (tmp_path / "site/lonely.html").write_text("<html><body><main></main></body></html>")
    found = problems(tmp_path / "site")
    assert "lonely.html: an empty page" in found and "lonely.html: the sidebar does not name it" in found


def test_reference_left_as_text_is_found_in_quartos_output(site, tmp_path):
    shutil.copytree(site, tmp_path / "site")
    for page in (tmp_path / "site").rglob("*.html"): # what Quarto calls itself; it leaves unresolved references as they are, or with question marks
        page.write_text(page.read_text().replace('content="smalldocs', 'content="quarto-1.7 smalldocs'))
    index = tmp_path / "site/index.html"
    index.write_text(index.read_text().replace("</main>", "<p>see @fig-nowhere</p></main>", 1))
    assert "index.html: @fig-nowhere is left as text" in problems(tmp_path / "site")


def test_sources_are_checked(tmp_path):
    shutil.copytree(ROOT / "nbs", tmp_path / "nbs", ignore=shutil.ignore_patterns("celeba-runs", "results-runs"))
    paper = tmp_path / "nbs/00_paper.ipynb"
    paper.write_text(paper.read_text().replace("@eq-", "@eq-no-", 1))
    assert any("has no label" in problem for problem in check_labels(tmp_path / "nbs"))
    quarto = tmp_path / "nbs/_quarto.yml"
    quarto.write_text(quarto.read_text().replace("page-navigation", "page-navigatoin"))
    assert any("page-navigatoin" in problem for problem in check_keys(tmp_path / "nbs"))
