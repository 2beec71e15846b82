"""Write a Markdown copy of each page of a built site, and llms.txt, which lists them, for programs that read it.

    python tools/llms.py SITE [--sources nbs]

SITE is the output folder, from Quarto or from the preview. The copy of `page.html` is `page.html.md`. It holds what the
page shows: text, code, printed results, numbered formulas, and the references; captions and alternative texts replace
the pictures. The copies are made from the pages, because Quarto has numbered and resolved everything there. Each page
gets a link to its copy.
"""
import argparse
import posixpath
import re
from pathlib import Path

import nbformat
import yaml
from bs4 import BeautifulSoup
from markdownify import MarkdownConverter

# navigation, buttons and what only works on the page itself
FURNITURE = "nav, script, style, link, button, input, svg, .quarto-title-breadcrumbs, .anchorjs-link, .page-copy, "
FURNITURE += "#quarto-back-to-top, .code-fold > summary, .screen-reader-only"
TARGET = re.compile("(eq|fig|tbl|sec|ref)-(?!.*-caption-)") # ids of formulas, figures, tables, sections, references
COPY_LINK = '<p class="page-copy"><a href="{}" type="text/markdown">This page as Markdown</a></p>'


def possible_pages(name: str) -> list:
    "What the page of the notebook `name` may be called. Quarto drops the number at its front, the preview keeps it."
    folder, base = posixpath.split(name)
    stems = (base, re.sub(r"^\d+[a-zA-Z0-9]*_", "", base))
    return [posixpath.join(folder, f"{stem}.html") for stem in stems]


def page_of(site: Path, name: str) -> str:
    "The page of the notebook `name`. Raises `FileNotFoundError` if the site has none."
    pages = possible_pages(name)
    for page in pages:
        if (site / page).is_file(): return page
    raise FileNotFoundError(f"{site} has no page for {name}.ipynb; looked for {' and '.join(pages)}")


def formula_of(tag) -> str:
    "A formula as the page's source has it, between dollars."
    text = re.sub(r"^\\[(\[]|\\[)\]]$", "", tag.get_text().strip())
    return f"$${text}$$" if "display" in tag["class"] else f"${text.strip()}$"


class PageConverter(MarkdownConverter):
    "HTML to Markdown: headings keep their anchors, formulas their source, and pictures become words."
    def convert_span(self, tag, text, parent_tags):
        return formula_of(tag) if "math" in tag.get("class", []) else text

    def convert_anchor(self, tag, text, parent_tags):
        end = "\n\n" if tag["name"].startswith("eq-") else "" # a formula needs a line of its own
        return f'<a id="{tag["name"]}"></a>{end}'

    def convert_img(self, tag, text, parent_tags):
        return f"[Picture: {tag['alt']}]" if tag.get("alt") else ""

    def convert_figcaption(self, tag, text, parent_tags):
        return f"\n\n*{text.strip()}*\n\n" if text.strip() else ""

    def convert_summary(self, tag, text, parent_tags):
        return f"<summary>{text.strip()}</summary>\n\n"

    def convert_details(self, tag, text, parent_tags):
        if "code-fold" in tag.get("class", []): return text
        return f"\n\n<details>{text.strip()}\n\n</details>\n\n"

    def convert_div(self, tag, text, parent_tags):
        if "callout" not in tag.get("class", []): return super().convert_div(tag, text, parent_tags)
        title, _, rest = text.strip().partition("\n")
        lines = [f"**{title.strip()}.**", "", *rest.strip().splitlines()]
        quoted = "\n".join(f"> {line}".rstrip() for line in lines)
        return f"\n\n{quoted}\n\n"


def language_of(pre) -> str:
    "The language of a block of code: Quarto names it in a class."
    classes = " ".join([*pre.get("class", []), *(pre.parent.get("class", []) if pre.parent else [])])
    return "python" if re.search(r"\bpython\b", classes) else ""


def mark_anchors(main) -> None:
    "Keep the places that links lead to: headings, exported names, formulas, figures, references."
    for tag in main.find_all(id=True):
        anchor = main.new_tag("anchor", attrs={"name": tag["id"]})
        heading = tag.find(re.compile("^h[1-6]$"), recursive=False) if tag.name == "section" else None
        if heading: heading.extend([" ", anchor])
        elif tag.name == "a" and not tag.get_text(): tag.replace_with(anchor)
        elif re.match("h[1-6]$", tag.name) or TARGET.match(tag["id"]): tag.insert(0, anchor)


def copy_of(page: BeautifulSoup, pages: set, folder: str, address: str) -> str:
    "A page's text as Markdown. `pages` are those of the site, named from its root; `address` is the site's own."
    main = BeautifulSoup(str(page.find("main") or page.body), "html.parser")
    for tag in main.select(FURNITURE): tag.extract()
    for badge in main.select('a[href*="colab.research.google.com"]'): badge.extract()
    mark_anchors(main)
    for link in main.select("a[href]"):
        target, hash, fragment = link["href"].partition("#")
        inside = target.removeprefix(f"{address}/")
        if inside != target: target = posixpath.relpath(inside, folder or ".")
        if posixpath.normpath(posixpath.join(folder, target)) in pages: link["href"] = f"{target}.md{hash}{fragment}"
    text = PageConverter(heading_style="atx", code_language_callback=language_of).convert_soup(main)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+$", "", text, flags=re.M)).strip() + "\n"


def link_copy(path: Path) -> None:
    "Put a link to the page's copy at the end of the page's text."
    html = path.read_text(encoding="utf-8")
    if 'class="page-copy"' in html: return
    path.write_text(html.replace("</main>", f"{COPY_LINK.format(path.name + '.md')}\n</main>", 1), encoding="utf-8")


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
    for page in pages.values():
        path = args.site / page
        soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        text = copy_of(soup, set(pages.values()), posixpath.dirname(page), about["site-url"])
        path.with_name(f"{path.name}.md").write_text(text, encoding="utf-8")
        link_copy(path)


if __name__ == "__main__": main()
