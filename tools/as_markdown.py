"A notebook as Markdown, the way README and the site's copies need it: without directives, hidden cells and machinery."
import re

from nbconvert import MarkdownExporter

DIRECTIVE = re.compile(r"^#\|.*\n?", re.M)
HIDDEN = ("hide", "default_exp", r"eval:\s*false")


def option(cell, name: str) -> str:
    "What a cell's `#| name: value` says, or nothing."
    found = re.search(rf"^#\|\s*{name}:\s*\"?(.*?)\"?\s*$", cell.source, re.M)
    return found[1] if found else ""


def prepared(notebook, hidden=HIDDEN):
    "The cells a reader shall see; a code cell marked `echo: false` keeps its outputs only."
    notebook.metadata["language_info"] = dict(name="python")
    notebook.cells = [cell for cell in notebook.cells if not re.search(rf"^#\|\s*({'|'.join(hidden)})", cell.source, re.M)]
    for cell in notebook.cells:
        if cell.cell_type != "code": continue
        cell.outputs = [output for output in cell.outputs if output.output_type != "stream" or output.name == "stdout"]
        cell.source = "" if option(cell, "echo") == "false" else DIRECTIVE.sub("", cell.source)
        for output in cell.outputs:
            if any(kind.startswith("image/") for kind in output.get("data", {})): output["data"].pop("text/plain", None)
    return notebook


def as_markdown(notebook, **names) -> tuple[str, dict]:
    "Its text, and the bytes of its pictures by path; `names` say what the pictures are called."
    body, resources = MarkdownExporter().from_notebook_node(notebook, resources=names)
    body = re.sub(r"^ +$", "", body, flags=re.M)
    body = re.sub(r"```python\n\n*```\n*", "", body)
    return re.sub(r"\n{3,}", "\n\n", body).strip() + "\n", resources["outputs"]
