"""Read a built site as its visitors' browsers would, and name what is broken.

    python tools/check_site.py SITE [--sources nbs]

SITE is the output folder, from Quarto or from the preview. Found are: links, anchors and images that lead nowhere,
pictures without alt text, cross-references left as text, empty pages, pages the sidebar does not name, search entries
that lead nowhere. With --sources also: cross-references in the notebooks whose label nothing bears, and keys in
_quarto.yml that Quarto does not know.
"""
import argparse
import json
import posixpath
import re
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup

REFERENCE = re.compile(r"(?<![\w@/])@((?:fig|eq|tbl|sec)-[\w-]+)")
KEYS = { # what may stand at each level of _quarto.yml and the files it includes; None: anything below is Quarto's own
    "project": {"type", "output-dir", "resources", "render", "pre-render", "post-render", "preview"},
    "website": {"title", "site-url", "description", "favicon", "image", "repo-url", "repo-branch", "repo-subdir", "repo-actions", "issue-url", "page-navigation", "back-to-top-navigation",
        "bread-crumbs", "twitter-card", "open-graph", "reader-mode", "search", "navbar", "sidebar", "page-footer", "cookie-consent", "google-analytics", "announcement", "draft-mode"},
    "format": {"html", "commonmark", "gfm"},
    "metadata-files": None, "bibliography": None, "csl": None, "execute": None, "lang": None, "filters": None, "link-citations": None, "llms-txt": None,
}
HTML_KEYS = {"theme", "css", "toc", "toc-depth", "toc-title", "toc-location", "toc-expand", "number-sections", "code-copy", "code-overflow", "code-fold", "code-tools", "code-line-numbers",
    "code-link", "grid", "html-math-method", "highlight-style", "include-in-header", "include-before-body", "include-after-body", "smooth-scroll", "anchor-sections", "mainfont", "monofont",
    "fontsize", "linkcolor", "backgroundcolor", "lightbox", "link-external-icon", "link-external-newwindow", "fig-align", "fig-cap-location", "page-layout", "respect-user-color-scheme"}


class Site:
    "The pages of a built site, parsed once."
    def __init__(self, root: Path):
        self.root = root
        self.pages = {path.relative_to(root).as_posix(): BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in sorted(root.rglob("*.html")) if "site_libs" not in path.parts}
        if not self.pages: sys.exit(f"{root}: no page in it; build the site first")
        self.ids = {name: {tag.get("id") or tag.get("name") for tag in page.find_all(id=True) + page.find_all("a", attrs={"name": True})} for name, page in self.pages.items()}
        self.is_preview = not any("quarto" in (tag.get("content") or "").lower() for page in self.pages.values() for tag in page.find_all("meta", attrs={"name": "generator"}))

    def problem_of(self, page: str, link: str) -> str | None:
        "Why a link of `page` leads nowhere, if it does."
        parts = urlsplit(link)
        if parts.scheme or parts.netloc: return None # other people's sites are not ours to check
        path = unquote(parts.path)
        target = (self.root / path.lstrip("/") if path.startswith("/") else self.root / Path(page).parent / path).resolve() if path else self.root.resolve() / page
        if target.is_dir(): target = target / "index.html"
        if not target.is_file(): return f"{link}: no such file"
        if not target.is_relative_to(self.root.resolve()): return f"{link}: outside the site"
        name = target.relative_to(self.root.resolve()).as_posix()
        if parts.fragment and name in self.ids and unquote(parts.fragment) not in self.ids[name]: return f"{link}: no such anchor"


def body(page) -> BeautifulSoup: return page.find("main") or page.body or page


def check_links(site: Site):
    for name, page in site.pages.items():
        for tag, key in (("a", "href"), ("img", "src"), ("script", "src"), ("link", "href")):
            for found in page.find_all(tag, attrs={key: True}):
                if problem := site.problem_of(name, found[key]): yield f"{name}: <{tag}> {problem}"


def check_alt(site: Site):
    for name, page in site.pages.items():
        for image in body(page).find_all("img"):
            if not (image.get("alt") or "").strip(): yield f"{name}: a picture without alt text ({(image.get('src') or '')[:60]})"


def check_references(site: Site):
    if site.is_preview: return # the preview leaves all of them as text; the sources are checked instead
    for name, page in site.pages.items():
        for tag in body(page).find_all(["pre", "code", "script", "style"]): tag.extract()
        for label in REFERENCE.findall(body(page).get_text()) + re.findall(r"\?@?((?:fig|eq)-[\w-]+)", body(page).get_text()): yield f"{name}: @{label} is left as text"


def check_pages(site: Site):
    sidebars = {name: {urlsplit(tag["href"]).path for tag in page.select("#quarto-sidebar a[href], .sidebar a[href], nav[class*=sidebar] a[href]")} for name, page in site.pages.items()}
    listed = {posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) for name, paths in sidebars.items() for path in paths if path}
    for name, page in site.pages.items():
        if len(body(page).get_text(" ", strip=True)) < 200: yield f"{name}: an empty page"
        if name not in listed and name != "404.html": yield f"{name}: the sidebar does not name it"


def check_search(site: Site):
    index = site.root / "search.json"
    if not index.is_file(): yield "search.json: missing"; return
    for entry in json.loads(index.read_text(encoding="utf-8")):
        if problem := site.problem_of("index.html", entry["href"]): yield f"search.json: {problem}"


def check_labels(sources: Path):
    "Each cross-reference has its label, in its notebook or another."
    texts = {path: "\n".join("".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] in ("markdown", "code"))
        for path in sources.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts}
    labels = {label for text in texts.values() for label in re.findall(r"\{#((?:fig|eq|tbl|sec)-[\w-]+)", text) + re.findall(r"^#\|\s*label:\s*([\w-]+)", text, re.M)}
    for path, text in texts.items():
        for label in REFERENCE.findall(text):
            if label not in labels: yield f"{path}: @{label} has no label"


def check_keys(sources: Path):
    "Keys of _quarto.yml and of the files it includes are Quarto's."
    files = [sources / "_quarto.yml"]
    files += [sources / name for name in yaml.safe_load(files[0].read_text()).get("metadata-files", [])]
    for file in files:
        for key, value in yaml.safe_load(file.read_text()).items():
            if key not in KEYS: yield f"{file}: unknown key {key}"
            elif KEYS[key]: yield from (f"{file}: unknown key {key}.{below}" for below in value if below not in KEYS[key])
            if key == "format": yield from (f"{file}: unknown key format.html.{below}" for below in value.get("html", {}) if below not in HTML_KEYS)


def problems_of(site: Site, sources: Path | None = None) -> list:
    "Everything that is broken, as sentences."
    found = [problem for check in (check_links, check_alt, check_pages, check_search, check_references) for problem in check(site)]
    return found + ([problem for check in (check_labels, check_keys) for problem in check(sources)] if sources else [])


def problems(root: Path, sources: Path | None = None) -> list:
    "The same for a site that is not parsed yet."
    return problems_of(Site(root), sources)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path); parser.add_argument("--sources", type=Path)
    o = parser.parse_args()
    site = Site(o.site)
    found = problems_of(site, o.sources)
    print("\n".join(found) or f"{len(site.pages)} pages, nothing broken")
    sys.exit(bool(found))


if __name__ == "__main__": main()
