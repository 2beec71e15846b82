"""Write a Markdown copy of each page of a built site, and llms.txt, which lists them, for programs that read it.

    python tools/llms.py SITE [--sources nbs]

SITE is the output folder, from Quarto or from the preview. The copy of `page.html` is `page.html.md`. It holds the
notebook's text, code and printed results; captions and alternative texts replace the pictures.
"""
import argparse
import posixpath
import re
from pathlib import Path

import nbformat
import yaml
from as_markdown import as_markdown, has_picture, option, prepare
from bs4 import BeautifulSoup

RAW_HTML = re.compile(r"^```\{=html\}\n(.*?)^```$", re.M | re.S)


def page_of(site: Path, name: str) -> str:
    "The page of the notebook `name`. Quarto drops the number at the front of the name, the preview keeps it."
    folder, base = posixpath.split(name)
    stems = (base, re.sub(r"^\d+[a-zA-Z0-9]*_", "", base))
    pages = [posixpath.join(folder, f"{stem}.html") for stem in stems]
    for page in pages:
        if (site / page).is_file(): return page
    raise FileNotFoundError(f"{site} has no page for {name}.ipynb; looked for {' and '.join(pages)}")


def slider_caption(html: str) -> str:
    "The captions of a slider, and the alternative texts of its pictures."
    soup = BeautifulSoup(html, "html.parser")
    captions = [tag.get_text(" ", strip=True) for tag in soup.select("figure.slider > figcaption")]
    return " ".join(captions + [f"[{tag['alt']}]" for tag in soup.find_all("img", alt=True)])


def describe_pictures(cell) -> None:
    "Replace the pictures among a code cell's outputs by words."
    for output in cell.outputs:
        html = output.get("data", {}).get("text/html", "")
        if "<img" in html: caption = slider_caption(html)
        elif has_picture(output): caption = " ".join(filter(None, (option(cell, "fig-cap"), option(cell, "fig-alt"))))
        else: continue
        output["data"] = {"text/markdown": f"*Picture: {caption}*"}


def relink(text: str, name: str, pages: dict) -> str:
    "`text` of the notebook `name`, with links to notebooks turned into links to Markdown copies, and without pictures."
    folder = posixpath.dirname(name)
    def link_to_copy(match):
        target = posixpath.normpath(posixpath.join(folder, match[1]))
        return f"]({posixpath.relpath(pages[target] + '.md', folder or '.')})"
    text = re.sub(r"\]\(([\w/.]+)\.ipynb(?:#[\w.-]+)?\)", link_to_copy, text)
    return re.sub(r"<img [^>]*>", "", text)


def words_of(match) -> str: return BeautifulSoup(match[1], "html.parser").get_text(" ", strip=True)


def copy_of(path: Path, name: str, pages: dict) -> str:
    "The notebook's text as Markdown."
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = relink(RAW_HTML.sub(words_of, cell.source), name, pages)
            continue
        describe_pictures(cell)
        for output in cell.outputs:
            data = output.get("data", {})
            if "text/markdown" in data: data["text/markdown"] = relink(data["text/markdown"], name, pages)
    return as_markdown(prepare(notebook))[0]


def entry_of(path: Path, page: str) -> str:
    "A notebook's line in llms.txt: its title with a link, and the sentence under the title."
    first_cell = nbformat.read(path, as_version=4).cells[0].source
    title, subtitle = re.match(r"# (.*?)\n+> (.*)", first_cell).groups()
    return f"- [{title}]({page}.md): {subtitle}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path)
    parser.add_argument("--sources", type=Path, default=Path("nbs"))
    args = parser.parse_args()
    def website(file): return yaml.safe_load((args.sources / file).read_text(encoding="utf-8"))["website"]
    about, sections = website("nbdev.yml"), {}
    for section in website("sidebar.yml")["sidebar"]["contents"]:
        sections[section["section"]] = [entry.removesuffix(".ipynb") for entry in section["contents"]]
    pages = {name: page_of(args.site, name) for names in sections.values() for name in names}
    blocks = [
        f"# {about['title']}",
        f"> {about['description']}",
        "Each page has a copy in Markdown: add `.md` to the page's address.",
    ]
    for section, names in sections.items():
        entries = [entry_of(args.sources / f"{name}.ipynb", pages[name]) for name in names]
        blocks += [f"## {section}", "\n".join(entries)]
    (args.site / "llms.txt").write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    for name, page in pages.items():
        text = copy_of(args.sources / f"{name}.ipynb", name, pages)
        (args.site / f"{page}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__": main()
