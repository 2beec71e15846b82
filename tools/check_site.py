"""Read a built site as its visitors' browsers would, and name what is broken.

    python tools/check_site.py SITE [--sources nbs]

SITE is the output folder, from Quarto or from the preview. Found are: links, anchors and images that lead nowhere,
pictures without alt text, cross-references left as text, empty pages, pages the sidebar does not name, search entries
that lead nowhere, pages without a copy in Markdown, links of those copies and of llms.txt that lead nowhere, stylesheets
that load from elsewhere, and whatever the page `try` would load from elsewhere. With
--sources also: cross-references in the notebooks whose label nothing bears, citations that the bibliography does not
hold, and keys and values in _quarto.yml that Quarto does not know.
"""
import argparse
import copy
import json
import posixpath
import re
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup

from place import notebooks

REFERENCE = re.compile(r"(?<![\w@/])@((?:fig|eq|tbl|sec)-[\w-]+)")
CITATION = re.compile(r"(?<![\w@/])-?@(?!(?:fig|eq|tbl|sec)-)([a-zA-Z][\w:-]*)")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.M | re.S)

# What Quarto 1.5 to 1.7 accept in the files that make up _quarto.yml, of the options a site like this may use. A set: one of
# these words; a list: one or several of that kind; a tuple: any of these kinds; a dict: these keys and no others.
THEME = {"default", "cerulean", "cosmo", "cyborg", "darkly", "flatly", "journal", "litera", "lumen", "lux", "materia", "minty", "morph", "pulse", "quartz", "sandstone", "simplex",
    "sketchy", "slate", "solar", "spacelab", "superhero", "united", "vapor", "yeti", "zephyr"}
ITEM = {key: str for key in ("text", "href", "icon", "aria-label", "rel", "target")}
SOCIAL = (bool, {"title": str, "description": str, "image": str, "image-alt": str, "site-name": str, "locale": str, "card-style": {"summary", "summary_large_image"}})
SIDEBAR = {"title": (str, bool), "style": {"docked", "floating"}, "search": bool, "background": str, "foreground": str, "border": bool, "alignment": {"left", "right", "center"},
    "collapse-level": int, "pinned": bool, "contents": list}
NAVBAR = {"title": (str, bool), "logo": str, "logo-alt": str, "background": str, "foreground": str, "search": bool, "pinned": bool, "collapse": bool,
    "collapse-below": {"sm", "md", "lg", "xl", "xxl"}, "left": [ITEM], "right": [ITEM], "toggle-position": {"left", "right"}, "tools-collapse": bool}
SEARCH = {"location": {"navbar", "sidebar"}, "type": {"overlay", "textbox"}, "limit": int, "collapse-after": int, "copy-button": bool, "show-item-context": (bool, {"tree", "parent", "root"})}
HTML = {"theme": ({"light": [THEME], "dark": [THEME]}, [THEME]), "respect-user-color-scheme": bool, "css": [str], "toc": bool, "toc-depth": int, "toc-title": str,
    "toc-location": {"body", "left", "right", "left-body", "right-body"}, "toc-expand": (int, bool), "number-sections": bool, "anchor-sections": bool, "smooth-scroll": bool,
    "code-copy": (bool, {"hover"}), "code-overflow": {"scroll", "wrap"}, "code-fold": (bool, {"show"}), "code-summary": str, "code-tools": bool, "code-line-numbers": bool,
    "html-math-method": {"plain", "webtex", "gladtex", "mathml", "mathjax", "katex"}, "highlight-style": str, "page-layout": {"article", "full", "custom"},
    "link-external-icon": bool, "link-external-newwindow": bool, "include-in-header": [str], "include-after-body": [str],
    "grid": {"content-mode": {"auto", "standard", "full", "slim"}, "sidebar-width": str, "margin-width": str, "body-width": str, "gutter-width": str}}
SCHEMA = {
    "project": {"type": {"default", "website"}, "output-dir": str, "resources": [str], "render": [str], "pre-render": [str], "post-render": [str]},
    "format": {"html": HTML},
    "website": {"title": str, "description": str, "site-url": str, "favicon": str, "image": str, "image-alt": str, "repo-url": str, "repo-branch": str, "repo-subdir": str, "issue-url": str,
        "repo-actions": [{"none", "edit", "source", "issue"}], "page-navigation": bool, "back-to-top-navigation": bool, "bread-crumbs": bool, "reader-mode": bool, "twitter-card": SOCIAL,
        "open-graph": SOCIAL, "search": (bool, SEARCH), "navbar": (bool, NAVBAR), "sidebar": (bool, [SIDEBAR]),
        "page-footer": (str, {"left": str, "center": str, "right": str, "border": (bool, str), "background": str, "foreground": str})},
    "bibliography": str, "csl": str, "lang": str, "metadata-files": [str],
}


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
        prose = copy.copy(body(page))
        for tag in prose.find_all(["pre", "code", "script", "style"]): tag.extract()
        text = prose.get_text()
        for label in REFERENCE.findall(text) + re.findall(r"\?@?((?:fig|eq)-[\w-]+)", text): yield f"{name}: @{label} is left as text"


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


def check_copies(site: Site):
    "llms.txt names pages that are there, each page has its copy, and the copies' links lead somewhere."
    index = site.root / "llms.txt"
    copies = [site.root / f"{name}.md" for name in site.pages if name != "404.html"]
    for path in [index, *copies]:
        name = path.relative_to(site.root).as_posix()
        if not path.is_file(): yield f"{name}: missing (python tools/llms.py writes it)"; continue
        for link in re.findall(r"\]\(([^\s()]+)\)", CODE.sub("", path.read_text(encoding="utf-8"))):
            if problem := site.problem_of(name, link): yield f"{name}: {problem}"


def check_home(site: Site):
    "The page `try` promises that nothing leaves the reader's machine: neither it nor any stylesheet loads from elsewhere."
    for sheet in sorted(site.root.rglob("*.css")):
        if found := re.search(r"""(?:@import\s*|url\()["']?(?:url\()?["']?(https?://[^"')]+)""", sheet.read_text(encoding="utf-8")):
            yield f"{sheet.relative_to(site.root).as_posix()}: loads {found[1]} (tools/try_assets.py takes fonts out)"
    page = site.pages.get("try.html", BeautifulSoup("", "html.parser"))
    for tag in page.find_all(["img", "script", "iframe", "link"]):
        address = tag.get("src") or (tag.get("href") if "stylesheet" in (tag.get("rel") or []) else None) or ""
        if urlsplit(address).netloc: yield f"try.html: loads {address}"


def texts_of(sources: Path, kinds=("markdown", "code")) -> dict:
    "The text of all cells, by notebook."
    return {path: "\n".join("".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] in kinds)
        for path in notebooks(sources)}


def check_labels(sources: Path):
    "Each cross-reference has its label, in its notebook or another."
    texts = texts_of(sources)
    labels = {label for text in texts.values() for label in re.findall(r"\{#((?:fig|eq|tbl|sec)-[\w-]+)", text) + re.findall(r"^#\|\s*label:\s*([\w-]+)", text, re.M)}
    for path, text in texts.items():
        for label in REFERENCE.findall(text):
            if label not in labels: yield f"{path}: @{label} has no label"


def settings(sources: Path):
    "_quarto.yml and the files it includes."
    files = [sources / "_quarto.yml"]
    files += [sources / name for name in yaml.safe_load(files[0].read_text(encoding="utf-8")).get("metadata-files", [])]
    return {file: yaml.safe_load(file.read_text(encoding="utf-8")) for file in files}


def check_citations(sources: Path):
    "Each paper that is cited stands in the bibliography, once."
    file = sources / settings(sources)[sources / "_quarto.yml"].get("bibliography", "references.bib")
    keys = re.findall(r"^@\w+\{([^,\s]+),", file.read_text(encoding="utf-8"), re.M) if file.is_file() else []
    yield from (f"{file}: {key} stands there twice" for key in sorted({key for key in keys if keys.count(key) > 1}))
    for path, text in texts_of(sources, ["markdown"]).items():
        yield from (f"{path}: @{key} is not in {file.name}" for key in CITATION.findall(CODE.sub("", text)) if key not in keys)


def fits(value, kind) -> bool:
    "Whether a value is of a kind of the schema, keys aside: those are named one by one."
    if isinstance(kind, tuple): return any(fits(value, one) for one in kind)
    if isinstance(kind, list): return all(fits(one, kind[0]) for one in (value if isinstance(value, list) else [value]))
    if isinstance(kind, set): return isinstance(value, str) and value in kind
    if isinstance(kind, dict): return isinstance(value, dict)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool)) # in Python True is an int


def strangers(value, kind, where: str):
    "Keys and values below `where` that the schema does not hold."
    if not fits(value, kind): yield f"unknown value {where}: {value!r}"; return
    if isinstance(kind, tuple): kind = next(one for one in kind if fits(value, one))
    if isinstance(kind, list):
        for one in value if isinstance(value, list) else [value]: yield from strangers(one, kind[0], where)
    if isinstance(kind, dict):
        for key, below in value.items():
            name = f"{where}.{key}".lstrip(".")
            yield from strangers(below, kind[key], name) if key in kind else [f"unknown key {name}"]


def check_settings(sources: Path):
    "Quarto knows the keys and the values of _quarto.yml and of the files it includes."
    for file, content in settings(sources).items(): yield from (f"{file}: {problem}" for problem in strangers(content, SCHEMA, ""))


def problems_of(site: Site, sources: Path | None = None) -> list:
    "Everything that is broken, as sentences."
    found = [problem for check in (check_links, check_alt, check_pages, check_search, check_copies, check_home, check_references) for problem in check(site)]
    return found + ([problem for check in (check_labels, check_citations, check_settings) for problem in check(sources)] if sources else [])


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
