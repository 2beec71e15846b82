"Write README.md from nbs/index.ipynb: its text, its code, its outputs, its pictures in nbs/images. What is made for the site (`exec_doc`) is left out."
import re
from pathlib import Path

import nbformat

from as_markdown import HIDDEN, as_markdown, option, prepared

ROOT = Path(__file__).parent.parent


def readme() -> tuple[str, dict]:
    "README's text, and the bytes of its pictures by path."
    notebook = nbformat.read(ROOT / "nbs/index.ipynb", as_version=4)
    alt = iter([option(cell, "fig-alt") for cell in notebook.cells if option(cell, "fig-alt")])
    for cell in notebook.cells:
        if cell.cell_type == "markdown": cell.source = re.sub(r"\]\(([\w/]+)\.ipynb", r"](nbs/\1.ipynb", cell.source).replace('src="images/', 'src="nbs/images/')
    text, pictures = as_markdown(prepared(notebook, (*HIDDEN, "exec_doc")), unique_key="index", output_files_dir="nbs/images")
    names = {path: f"nbs/images/readme_{n}{Path(path).suffix}" for n, path in enumerate(pictures)} # the exporter's count cells, and change when one is added
    for path, name in names.items(): text = text.replace(path, name)
    return re.sub(r"!\[(?:png|jpeg)\]", lambda _: f"![{next(alt)}]", text), {names[path]: data for path, data in pictures.items()}


if __name__ == "__main__":
    text, pictures = readme()
    (ROOT / "README.md").write_text(text, encoding="utf-8")
    for path, data in pictures.items():
        (ROOT / path).parent.mkdir(exist_ok=True)
        (ROOT / path).write_bytes(data)
