"Write README.md from nbs/index.ipynb: its text, its code without directives, its outputs, its pictures in nbs/images. What is made for the site (`exec_doc`) is left out."
import re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parent.parent
DIRECTIVE = re.compile(r"^#\|.*\n?", re.M)
DROPPED = re.compile(r"^#\|\s*(hide|default_exp|exec_doc|eval:\s*false)", re.M)


def prepared(notebook):
    "The cells a reader of README shall see; a code cell marked `echo: false` keeps its outputs only."
    notebook.metadata["language_info"] = dict(name="python")
    notebook.cells = [cell for cell in notebook.cells if not DROPPED.search(cell.source)]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.output_type != "stream" or output.name == "stdout"]
            cell.source = "" if re.search(r"^#\|\s*echo:\s*false", cell.source, re.M) else DIRECTIVE.sub("", cell.source)
            for output in cell.outputs:
                if "image/png" in output.get("data", {}): output["data"].pop("text/plain", None)
        else:
            cell.source = re.sub(r"\]\(([\w/]+)\.ipynb", r"](nbs/\1.ipynb", cell.source).replace('src="images/', 'src="nbs/images/')
    return notebook


def readme() -> tuple[str, dict]:
    "README's text, and the bytes of its pictures by path."
    notebook = prepared(nbformat.read(ROOT / "nbs/index.ipynb", as_version=4))
    body, resources = MarkdownExporter().from_notebook_node(notebook, resources=dict(unique_key="index", output_files_dir="nbs/images"))
    alt = iter(re.findall(r"^#\|\s*fig-alt:\s*\"(.*)\"", "\n".join(c.source for c in nbformat.read(ROOT / "nbs/index.ipynb", as_version=4).cells), re.M))
    body = re.sub(r"!\[png\]", lambda _: f"![{next(alt)}]", body)
    body = re.sub(r"^ +$", "", body, flags=re.M)
    body = re.sub(r"```python\n\n*```\n*", "", body)
    return re.sub(r"\n{3,}", "\n\n", body).strip() + "\n", resources["outputs"]


if __name__ == "__main__":
    text, pictures = readme()
    (ROOT / "README.md").write_text(text, encoding="utf-8")
    for path, data in pictures.items():
        (ROOT / path).parent.mkdir(exist_ok=True)
        (ROOT / path).write_bytes(data)
