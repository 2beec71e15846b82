"""Read a built site as its visitors' browsers would, and list what is broken.

    python tools/check_site.py SITE [--sources nbs]

SITE is the output folder, from Quarto or from the preview. The script reports

- links, anchors, images and search entries that lead nowhere, also in the Markdown copies and in llms.txt;
- pictures without alt text, cross-references left as text, raw Markdown, links named after files, empty pages;
- pages that the sidebar does not list, long pages without a table of contents, pages without a Markdown copy;
- stylesheets that load from other sites, scripts that do (except MathJax), and anything else that the page `try`
  would load from there.

With --sources it also reports exported functions and classes whose code is not on their chapter's page, install cells
that show, cross-references in the notebooks that have no label, citations that are not in the bibliography, and keys
and values in _quarto.yml that Quarto does not know.
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

from llms import possible_pages
from set_addresses import notebooks

REFERENCE = re.compile(r"(?<![\w@/])@((?:fig|eq|tbl|sec)-[\w-]+)")
CITATION = re.compile(r"(?<![\w@/])-?@(?!(?:fig|eq|tbl|sec)-)([a-zA-Z][\w:-]*)")
LABEL = re.compile(r"\{#((?:fig|eq|tbl|sec)-[\w-]+)")
CELL_LABEL = re.compile(r"^#\|\s*label:\s*([\w-]+)", re.M)
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.M | re.S)
REMOTE = re.compile(r"""(?:@import\s*|url\()["']?(?:url\()?["']?(https?://[^"')]+)""")
SIDEBAR_LINKS = "#quarto-sidebar a[href], .sidebar a[href], nav[class*=sidebar] a[href]"


def keys(names: str, kind) -> dict: return dict.fromkeys(names.split(), kind)


# The options of Quarto 1.5 to 1.7 that a site like this may use in _quarto.yml and the files it includes.
# A set: one of these words; a list: one or several of this kind; a tuple: any of these kinds; a dict: these keys only.
THEME = set("""default cerulean cosmo cyborg darkly flatly journal litera lumen lux materia minty morph pulse quartz
    sandstone simplex sketchy slate solar spacelab superhero united vapor yeti zephyr""".split())
ITEM = keys("text href icon aria-label rel target", str)
SOCIAL = (bool, {
    **keys("title description image image-alt site-name locale", str),
    "card-style": {"summary", "summary_large_image"},
})
SIDEBAR = {
    "title": (str, bool),
    "style": {"docked", "floating"},
    "alignment": {"left", "right", "center"},
    "collapse-level": int,
    "contents": list,
    **keys("search border pinned", bool),
    **keys("background foreground", str),
}
ENTRY = {**ITEM, "menu": [ITEM]}
NAVBAR = {
    "title": (str, bool),
    "collapse-below": {"sm", "md", "lg", "xl", "xxl"},
    "left": [ENTRY],
    "right": [ENTRY],
    "toggle-position": {"left", "right"},
    **keys("logo logo-alt background foreground", str),
    **keys("search pinned collapse tools-collapse", bool),
}
SEARCH = {
    "location": {"navbar", "sidebar"},
    "type": {"overlay", "textbox"},
    "copy-button": bool,
    "show-item-context": (bool, {"tree", "parent", "root"}),
    **keys("limit collapse-after", int),
}
FOOTER = {
    "border": (bool, str),
    **keys("left center right background foreground", str),
}
HTML = {
    "theme": ({"light": [THEME], "dark": [THEME]}, [THEME]),
    "toc-depth": int,
    "toc-location": {"body", "left", "right", "left-body", "right-body"},
    "toc-expand": (int, bool),
    "code-copy": (bool, {"hover"}),
    "code-overflow": {"scroll", "wrap"},
    "code-fold": (bool, {"show"}),
    "html-math-method": {"plain", "webtex", "gladtex", "mathml", "mathjax", "katex"},
    "page-layout": {"article", "full", "custom"},
    "grid": {
        "content-mode": {"auto", "standard", "full", "slim"},
        **keys("sidebar-width margin-width body-width gutter-width", str),
    },
    **keys("css include-in-header include-after-body", [str]),
    **keys("toc-title code-summary highlight-style", str),
    **keys("toc number-sections anchor-sections smooth-scroll code-tools code-line-numbers", bool),
    **keys("respect-user-color-scheme link-external-icon link-external-newwindow", bool),
}
WEBSITE = {
    "repo-actions": [{"none", "edit", "source", "issue"}],
    "search": (bool, SEARCH),
    "navbar": (bool, NAVBAR),
    "sidebar": (bool, [SIDEBAR]),
    "page-footer": (str, FOOTER),
    **keys("title description site-url favicon image image-alt", str),
    **keys("repo-url repo-branch repo-subdir issue-url", str),
    **keys("page-navigation back-to-top-navigation bread-crumbs reader-mode", bool),
    **keys("twitter-card open-graph", SOCIAL),
}
SCHEMA = {
    "project": {
        "type": {"default", "website"},
        "output-dir": str,
        **keys("resources render pre-render post-render", [str]),
    },
    "format": {"html": HTML},
    "website": WEBSITE,
    "metadata-files": [str],
    **keys("bibliography csl lang", str),
}


def read(path: Path) -> str: return path.read_text(encoding="utf-8")


class Site:
    "The pages of a built site, parsed once."
    def __init__(self, root: Path, address: str = ""):
        "`address` is where the site is published; links that begin with it are the site's own."
        self.root, self.address, self.pages = root, address, {}
        for path in sorted(root.rglob("*.html")):
            if "site_libs" in path.parts: continue
            self.pages[path.relative_to(root).as_posix()] = BeautifulSoup(read(path), "html.parser")
        if not self.pages: sys.exit(f"{root}: no page in it; build the site first")
        self.ids = {name: ids_of(page) for name, page in self.pages.items()}
        self.is_preview = not any(map(is_quartos, self.pages.values()))

    def from_host(self, path: str) -> Path:
        "The file at a path that begins at the host. On GitHub's pages the site is a folder there, named after it."
        place, below = self.root.resolve() / path.lstrip("/"), path.lstrip("/").partition("/")[2]
        return (place if place.exists() or not below else self.root.resolve() / below).resolve()

    def problem_of(self, page: str, link: str) -> str | None:
        "Why a link on `page` leads nowhere; None if it works."
        is_own = bool(self.address) and link.startswith(f"{self.address}/")
        if is_own and not self.is_preview: link = link.removeprefix(self.address) # the preview names pages differently
        parts = urlsplit(link)
        if parts.scheme or parts.netloc: return None # other people's sites are not ours to check
        root, path = self.root.resolve(), unquote(parts.path)
        if not path: target = root / page
        elif path.startswith("/"): target = self.from_host(path)
        else: target = (root / Path(page).parent / path).resolve()
        if target.is_dir(): target = target / "index.html"
        if not target.is_file(): return f"{link}: no such file"
        if not target.is_relative_to(root): return f"{link}: outside the site"
        ids = self.ids.get(target.relative_to(root).as_posix())
        if parts.fragment and ids is not None and unquote(parts.fragment) not in ids: return f"{link}: no such anchor"
        return None


def ids_of(page) -> set:
    "Everything a link's #fragment can point to."
    tags = page.find_all(id=True) + page.find_all("a", attrs={"name": True})
    return {tag.get("id") or tag.get("name") for tag in tags}


def is_quartos(page) -> bool:
    generators = page.find_all("meta", attrs={"name": "generator"})
    return any("quarto" in (tag.get("content") or "").lower() for tag in generators)


def body(page) -> BeautifulSoup: return page.find("main") or page.body or page


def check_links(site: Site):
    for name, page in site.pages.items():
        for tag, key in (("a", "href"), ("img", "src"), ("script", "src"), ("link", "href")):
            for element in page.find_all(tag, attrs={key: True}):
                if problem := site.problem_of(name, element[key]): yield f"{name}: <{tag}> {problem}"


def check_alt(site: Site):
    for name, page in site.pages.items():
        for image in body(page).find_all("img"):
            if (image.get("alt") or "").strip(): continue
            yield f"{name}: a picture without alt text ({(image.get('src') or '')[:60]})"


def check_references(site: Site):
    if site.is_preview: return # the preview leaves all of them as text; check_labels reads the sources instead
    for name, page in site.pages.items():
        prose = copy.copy(body(page))
        for tag in prose.find_all(["pre", "code", "script", "style"]): tag.extract()
        text = prose.get_text()
        unresolved = REFERENCE.findall(text) + re.findall(r"\?@?((?:fig|eq)-[\w-]+)", text)
        for label in unresolved: yield f"{name}: @{label} is left as text"


def without(main, *selectors) -> BeautifulSoup:
    "A copy of a part of a page, without some of its elements."
    kept = copy.copy(main)
    for tag in kept.select(", ".join(selectors)): tag.extract()
    return kept


def check_raw(site: Site):
    "No Markdown is left as text. In code, a link to this site is one that nbdev made by mistake."
    for name, page in site.pages.items():
        prose = without(body(page), "pre", "code", "script", "style", ".math").get_text()
        signs = r"\]\(http|`\[`|:::+ " if site.is_preview else r"\]\(http|`\[`|:::+ |\{#\w" # it leaves labels as text
        found = re.findall(signs, prose)
        code = without(body(page), "script", "style").get_text()
        if site.address: found += re.findall(rf"\]\({re.escape(site.address)}", code)
        for raw in found: yield f"{name}: raw Markdown: {raw}"


def check_link_texts(site: Site):
    "A link shows a title, not the name of a file that the site does not have."
    for name, page in site.pages.items():
        for link in body(page).find_all("a", href=True):
            if re.fullmatch(r"\d\d_\w+", text := link.get_text(strip=True)): yield f"{name}: a link reads {text}"


def check_contents(site: Site):
    "A page with several sections lists them."
    for name, page in site.pages.items():
        listed = page.select("#TOC a[href]")
        if len(body(page).find_all("h2")) > 2 and not listed: yield f"{name}: no table of contents"


def check_scripts(site: Site):
    "No page loads scripts from other sites, except MathJax and what Quarto loads for it."
    for name, page in site.pages.items():
        for script in page.find_all("script", src=True):
            source = script["src"]
            if urlsplit(source).netloc and not re.search("/mathjax@|/polyfill/|/katex@", source):
                yield f"{name}: loads {source}"


def check_pages(site: Site):
    listed = set()
    for name, page in site.pages.items():
        folder = posixpath.dirname(name)
        paths = [urlsplit(tag["href"]).path for tag in page.select(SIDEBAR_LINKS)]
        listed |= {posixpath.normpath(posixpath.join(folder, path)) for path in paths if path}
    for name, page in site.pages.items():
        if len(body(page).get_text(" ", strip=True)) < 200: yield f"{name}: an empty page"
        if name not in listed and name != "404.html": yield f"{name}: the sidebar does not name it"


def check_search(site: Site):
    index = site.root / "search.json"
    if not index.is_file():
        yield "search.json: missing"
        return
    for entry in json.loads(read(index)):
        if problem := site.problem_of("index.html", entry["href"]): yield f"search.json: {problem}"


def check_copies(site: Site):
    "llms.txt lists pages that exist, each page has a Markdown copy, and the links in these files lead somewhere."
    copies = [site.root / f"{name}.md" for name in site.pages if name != "404.html"]
    for name in site.pages:
        own = f"{posixpath.basename(name)}.md"
        if name != "404.html" and not site.pages[name].select(f'a[href="{own}"]'): yield f"{name}: no link to its copy"
    for path in [site.root / "llms.txt", *copies]:
        name = path.relative_to(site.root).as_posix()
        if not path.is_file():
            yield f"{name}: missing (python tools/llms.py writes it)"
            continue
        text = CODE.sub("", read(path))
        for link in re.findall(r"\]\(([^\s()]+)\)", text):
            if problem := site.problem_of(name, link): yield f"{name}: {problem}"
        if not site.is_preview:
            for raw in REFERENCE.findall(text) + CITATION.findall(text): yield f"{name}: @{raw} is left as text"


def check_home(site: Site):
    "The page `try` keeps its promise that nothing leaves the reader's machine: nothing is loaded from other sites."
    for sheet in sorted(site.root.rglob("*.css")):
        if match := REMOTE.search(read(sheet)):
            yield f"{sheet.relative_to(site.root).as_posix()}: loads {match[1]} (tools/try_assets.py takes fonts out)"
    page = site.pages.get("try.html", BeautifulSoup("", "html.parser"))
    for tag in page.find_all(["img", "script", "iframe", "link"]):
        is_sheet = "stylesheet" in (tag.get("rel") or [])
        address = tag.get("src") or (tag.get("href") if is_sheet else None) or ""
        if urlsplit(address).netloc: yield f"try.html: loads {address}"


def check_code(site: Site, sources: Path):
    "Every exported function and class stands with its code on the page of its chapter; install cells don't."
    for path in notebooks(sources):
        notebook = path.relative_to(sources).with_suffix("").as_posix()
        name = next((page for page in possible_pages(notebook) if page in site.pages), None)
        if not name: continue
        shown = "\n".join(tag.get_text() for tag in body(site.pages[name]).find_all("pre"))
        if "-e /content" in shown: yield f"{name}: shows the cell that installs the package in Colab"
        for cell in json.loads(read(path))["cells"]:
            source = "".join(cell["source"])
            if not re.match(r"(#\|.*\n)*#\| exports?\b", source): continue
            for start in re.findall(r"^(?:def|class) \w+", source, re.M):
                if not re.search(rf"^{start}\b", shown, re.M): yield f"{name}: the code of `{start}` is not on the page"


def text_of(notebook: Path, kinds) -> str:
    cells = json.loads(read(notebook))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] in kinds)


def texts_of(sources: Path, kinds=("markdown", "code")) -> dict:
    "The text of all cells, by notebook."
    return {path: text_of(path, kinds) for path in notebooks(sources)}


def check_labels(sources: Path):
    "Each cross-reference has a label, in the same notebook or another."
    texts = texts_of(sources)
    labels = {label for text in texts.values() for label in LABEL.findall(text) + CELL_LABEL.findall(text)}
    for path, text in texts.items():
        for label in REFERENCE.findall(text):
            if label not in labels: yield f"{path}: @{label} has no label"


def settings(sources: Path) -> dict:
    "The content of _quarto.yml and of the files it includes, by path."
    file = sources / "_quarto.yml"
    content = yaml.safe_load(read(file))
    included = [sources / name for name in content.get("metadata-files", [])]
    return {file: content} | {path: yaml.safe_load(read(path)) for path in included}


def check_citations(sources: Path):
    "Each cited paper is in the bibliography, once."
    file = sources / settings(sources)[sources / "_quarto.yml"].get("bibliography", "references.bib")
    entries = re.findall(r"^@\w+\{([^,\s]+),", read(file), re.M) if file.is_file() else []
    for key in sorted(set(entries)):
        if entries.count(key) > 1: yield f"{file}: {key} stands there twice"
    for path, text in texts_of(sources, ["markdown"]).items():
        for key in CITATION.findall(CODE.sub("", text)):
            if key not in entries: yield f"{path}: @{key} is not in {file.name}"


def fits(value, kind) -> bool:
    "Whether a value is of a kind of the schema. A dict's keys don't matter here: they are reported one by one."
    if isinstance(kind, tuple): return any(fits(value, option) for option in kind)
    if isinstance(kind, list):
        values = value if isinstance(value, list) else [value]
        return all(fits(item, kind[0]) for item in values)
    if isinstance(kind, set): return isinstance(value, str) and value in kind
    if isinstance(kind, dict): return isinstance(value, dict)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool)) # in Python True is an int


def unknown_settings(value, kind, path: str):
    "Keys and values at and below `path` that are not in the schema."
    if not fits(value, kind):
        yield f"unknown value {path}: {value!r}"
        return
    if isinstance(kind, tuple): kind = next(option for option in kind if fits(value, option))
    if isinstance(kind, list):
        values = value if isinstance(value, list) else [value]
        for item in values: yield from unknown_settings(item, kind[0], path)
    if isinstance(kind, dict):
        for key, below in value.items():
            name = f"{path}.{key}".lstrip(".")
            if key in kind: yield from unknown_settings(below, kind[key], name)
            else: yield f"unknown key {name}"


def check_settings(sources: Path):
    "Quarto knows the keys and values in _quarto.yml and in the files it includes."
    for file, content in settings(sources).items():
        for problem in unknown_settings(content, SCHEMA, ""): yield f"{file}: {problem}"


SITE_CHECKS = (
    check_links, check_alt, check_pages, check_search, check_copies, check_home, check_references,
    check_raw, check_link_texts, check_contents, check_scripts,
)
SOURCE_CHECKS = (check_labels, check_citations, check_settings)


def problems_of(site: Site, sources: Path | None = None) -> list:
    "Everything that is broken, as sentences."
    sentences = [problem for check in SITE_CHECKS for problem in check(site)]
    if sources:
        sentences += check_code(site, sources)
        sentences += [problem for check in SOURCE_CHECKS for problem in check(sources)]
    return sentences


def problems(root: Path, sources: Path | None = None) -> list:
    "The same for a site that is not parsed yet."
    return problems_of(Site(root, address_of(sources)), sources)


def address_of(sources: Path | None) -> str:
    "Where the site is published, as its settings say."
    return yaml.safe_load(read(sources / "nbdev.yml"))["website"]["site-url"] if sources else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path)
    parser.add_argument("--sources", type=Path)
    args = parser.parse_args()
    site = Site(args.site, address_of(args.sources))
    broken = problems_of(site, args.sources)
    print("\n".join(broken) or f"{len(site.pages)} pages, nothing broken")
    sys.exit(bool(broken))


if __name__ == "__main__": main()
