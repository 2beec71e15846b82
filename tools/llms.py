"""Write a Markdown copy beside each page of a built site, and llms.txt, which lists them, for readers that are programs.

    python tools/llms.py SITE [--sources nbs]

SITE is the output folder, from Quarto or from the preview. The copy of `page.html` is `page.html.md`: the notebook's text,
code and printed results; a picture is told by its caption and its alternative text.
"""
import argparse
import posixpath
import re
from pathlib import Path

import nbformat
import yaml
from bs4 import BeautifulSoup

from as_markdown import as_markdown, option, prepared


def page_of(site: Path, name: str) -> str:
    "The page of the notebook `name`: Quarto's takes away the number in front, the preview's keeps it."
    folder, base = posixpath.split(name)
    pages = [posixpath.join(folder, f"{stem}.html") for stem in (base, re.sub(r"^\d+[a-zA-Z0-9]*_", "", base))]
    found = next((page for page in pages if (site / page).is_file()), None)
    if found is None: raise FileNotFoundError(f"{site} has no page for {name}.ipynb; looked for {' and '.join(pages)}")
    return found


def told(cell):
    "A code cell whose pictures have become words."
    for output in cell.outputs:
        data = output.get("data", {})
        caption = " ".join(filter(None, (option(cell, "fig-cap"), option(cell, "fig-alt"))))
        if "<img" in (html := data.get("text/html", "")): # a slider: what it shows stands in its caption and its labels
            soup = BeautifulSoup(html, "html.parser")
            caption = " ".join([tag.get_text(" ", strip=True) for tag in soup.select("figure.slider > figcaption")] + [f"[{tag['alt']}]" for tag in soup.find_all("img", alt=True)])
        if "<img" in html or any(kind.startswith("image/") for kind in data): output["data"] = {"text/markdown": f"*Picture: {caption}*"}


def linked(text: str, name: str, pages: dict) -> str:
    "`text` of the notebook `name`, with links to notebooks leading to the copies of their pages, and pictures left out."
    folder = posixpath.dirname(name)
    copy = lambda m: f"]({posixpath.relpath(pages[posixpath.normpath(posixpath.join(folder, m[1]))] + '.md', folder or '.')})"
    return re.sub(r"<img [^>]*>", "", re.sub(r"\]\(([\w/.]+)\.ipynb(?:#[\w.-]+)?\)", copy, text))


def worded(text: str) -> str:
    "`text` with its blocks of raw HTML reduced to their words."
    return re.sub(r"^```\{=html\}\n(.*?)^```$", lambda m: BeautifulSoup(m[1], "html.parser").get_text(" ", strip=True), text, flags=re.M | re.S)


def copy_of(path: Path, name: str, pages: dict) -> str:
    "The notebook's text as Markdown."
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown": cell.source = linked(worded(cell.source), name, pages); continue
        told(cell)
        for output in cell.outputs:
            if "text/markdown" in output.get("data", {}): output["data"]["text/markdown"] = linked(output["data"]["text/markdown"], name, pages)
    return as_markdown(prepared(notebook))[0]


def title_and_line(path: Path) -> tuple[str, str]:
    "A notebook's heading, and the sentence below it."
    title, line = re.match(r"# (.*?)\n+> (.*)", nbformat.read(path, as_version=4).cells[0].source).groups()
    return title, line


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path); parser.add_argument("--sources", type=Path, default=Path("nbs"))
    o = parser.parse_args()
    website = yaml.safe_load((o.sources / "nbdev.yml").read_text(encoding="utf-8"))["website"]
    sections = yaml.safe_load((o.sources / "sidebar.yml").read_text(encoding="utf-8"))["website"]["sidebar"]["contents"]
    names = {section["section"]: [entry.removesuffix(".ipynb") for entry in section["contents"]] for section in sections}
    pages = {name: page_of(o.site, name) for entries in names.values() for name in entries}
    lines = [f"# {website['title']}", f"> {website['description']}", "Each page has a copy in Markdown beside it, at its own address with `.md` after it."]
    for section, entries in names.items():
        lines.append(f"## {section}")
        lines.append("\n".join("- [{}]({}.md): {}".format(title, pages[name], line) for name in entries for title, line in [title_and_line(o.sources / f"{name}.ipynb")]))
    (o.site / "llms.txt").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    for name, page in pages.items(): (o.site / f"{page}.md").write_text(copy_of(o.sources / f"{name}.ipynb", name, pages), encoding="utf-8")


if __name__ == "__main__": main()
