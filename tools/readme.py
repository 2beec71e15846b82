"""Write README.md from nbs/index.ipynb: its text, code and outputs, with the pictures in nbs/images.

Cells marked `exec_doc` belong to the site and are left out.
"""
import re
from pathlib import Path

import nbformat
from as_markdown import HIDDEN, as_markdown, option, prepare

ROOT = Path(__file__).parent.parent


def fix_links(text: str) -> str:
    "Make links and pictures of a notebook in nbs/ work from the folder above."
    text = re.sub(r"\]\(([\w/]+)\.ipynb", r"](nbs/\1.ipynb", text)
    return text.replace('src="images/', 'src="nbs/images/')


def readme() -> tuple[str, dict]:
    "README's text, and its pictures as path -> bytes."
    notebook = nbformat.read(ROOT / "nbs/index.ipynb", as_version=4)
    alts = iter([alt for cell in notebook.cells if (alt := option(cell, "fig-alt"))])
    for cell in notebook.cells:
        if cell.cell_type == "markdown": cell.source = fix_links(cell.source)
    notebook = prepare(notebook, (*HIDDEN, "exec_doc"))
    text, pictures = as_markdown(notebook, unique_key="index", output_files_dir="nbs/images")
    renamed = {} # the exporter's names count cells, so they would change with every cell that is added
    for n, (path, data) in enumerate(pictures.items()):
        name = f"nbs/images/readme_{n}{Path(path).suffix}"
        text = text.replace(path, name)
        renamed[name] = data
    text = re.sub(r"!\[(?:png|jpeg)\]", lambda _: f"![{next(alts)}]", text)
    return text, renamed


if __name__ == "__main__":
    text, pictures = readme()
    (ROOT / "README.md").write_text(text, encoding="utf-8")
    for path, data in pictures.items():
        (ROOT / path).parent.mkdir(exist_ok=True)
        (ROOT / path).write_bytes(data)
