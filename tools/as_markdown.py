"Turn a notebook into Markdown for README and the site's copies: no directives, no hidden cells."
import re

from nbconvert import MarkdownExporter

DIRECTIVE = re.compile(r"^#\|.*\n?", re.M)
HIDDEN = ("hide", "default_exp", r"eval:\s*false")


def option(cell, name: str) -> str:
    "The value of a cell's `#| name: value`, or an empty string."
    match = re.search(rf"^#\|\s*{name}:\s*\"?(.*?)\"?\s*$", cell.source, re.M)
    return match[1] if match else ""


def has_picture(output) -> bool: return any(kind.startswith("image/") for kind in output.get("data", {}))


def prepare(notebook, hidden=HIDDEN):
    "Keep what a reader should see; of a code cell marked `echo: false`, only the outputs."
    notebook.metadata["language_info"] = dict(name="python")
    is_hidden = re.compile(rf"^#\|\s*({'|'.join(hidden)})", re.M).search
    notebook.cells = [cell for cell in notebook.cells if not is_hidden(cell.source)]
    for cell in notebook.cells:
        if cell.cell_type != "code": continue
        cell.outputs = [output for output in cell.outputs if output.output_type != "stream" or output.name == "stdout"]
        cell.source = "" if option(cell, "echo") == "false" else DIRECTIVE.sub("", cell.source)
        for output in cell.outputs:
            if has_picture(output): output["data"].pop("text/plain", None)
    return notebook


def as_markdown(notebook, **resources) -> tuple[str, dict]:
    "The notebook's text, and its pictures as path -> bytes. `resources` go to nbconvert, which names the pictures."
    body, resources = MarkdownExporter().from_notebook_node(notebook, resources=resources)
    body = re.sub(r"^ +$", "", body, flags=re.M)
    body = re.sub(r"```python\n\n*```\n*", "", body)
    return re.sub(r"\n{3,}", "\n\n", body).strip() + "\n", resources["outputs"]
