"""What nbdev does to the notebooks besides its own steps, when it prepares the site (`procs` in settings.ini).

A chapter shows the code itself, so the box with the signature that nbdev adds to each exported cell would say
everything twice. The reference page has the signatures.
"""
import ast
import re

from nbdev.config import get_config
from nbdev.processors import Processor, mk_cell

# nbdev puts these two lines on top of each exported cell
OPEN_FOLD = '#| code-fold: show\n#| code-summary: "Exported source"\n'
BOX = re.compile(r"^show_doc\((\w+)\)", re.M)
ANSI = re.compile(r"\x1b\[[\d;]*m") # colours for terminals
SOURCE = re.compile(r"\[source\]\((\S+?)\)")


def names_in(source: str) -> list:
    "Each function, class and method that a cell defines: `psnr`, `PhotoStore`, `PhotoStore.draw`."
    names = []
    for node in ast.parse(source).body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)): continue
        names.append(node.name)
        if isinstance(node, ast.ClassDef):
            names += [f"{node.name}.{below.name}" for below in node.body if isinstance(below, ast.FunctionDef)]
    return names


def addresses(boxes: list) -> dict:
    "Where each public name's source is on GitHub, as nbdev's boxes say: name -> address."
    found = {}
    for box in boxes:
        text = "".join("".join(output["data"]["text/markdown"]) for output in box.outputs)
        if match := SOURCE.search(text): found[BOX.search(box.source)[1]] = match[1]
    return found


class ShowCode(Processor):
    "Replace nbdev's boxes by a line above each exported cell: its module, a link to GitHub, and the links' anchors."
    def __init__(self, nb):
        super().__init__(nb)
        directives = [cell.directives_ for cell in nb.cells]
        self.default = [each["default_exp"][0] for each in directives if "default_exp" in each]

    def begin(self):
        boxes = [cell for cell in self.nb.cells if hasattr(cell, "has_sd")]
        found, cells = addresses(boxes), []
        for cell in self.nb.cells:
            if hasattr(cell, "has_sd"): continue
            if "exports" in cell.directives_:
                cell.source = cell.source.removeprefix(OPEN_FOLD)
                if "folded" in cell.directives_: cell.source = f"#| code-fold: true\n{cell.source}"
                module, = cell.directives_["exports"] or self.default
                cells.append(headline(module, names_in(cell.source), found))
            cells.append(cell)
        self.nb.cells = cells


def headline(module: str, names: list, addresses: dict):
    "The line above a cell that goes into `module` and defines `names`."
    config = get_config()
    file = f"{config.git_url}/blob/{config.branch}/{config.lib_path.name}/{module}.py"
    address = next((addresses[name] for name in names if name in addresses), file)
    anchors = "".join(f'<a id="{name.lower()}"></a>' for name in names)
    return mk_cell(f'<p class="exported">{anchors}<a href="{address}">srgan_nb.{module}</a></p>', cell_type="markdown")


def as_raw_html(cell):
    """Wrap figures made of HTML, such as sliders, so that they reach the page as they are; use the text of other HTML.

    Quarto takes HTML outputs for widgets, and adds RequireJS and jQuery from another site to the page.
    """
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        html = "".join(data.pop("text/html", ""))
        if "<figure" in html: output["data"] = {"text/markdown": f"```{{=html}}\n{html}\n```"}
        elif "text/plain" in data: data["text/plain"] = ANSI.sub("", "".join(data["text/plain"]))


# a name that nbdev made a link; a link whose text may hold such links
NAME_LINK = re.compile(r"\[(`[^`\]]+`)\]\(https?://[^()\s]+\)")
LINK = re.compile(rf"\[((?:[^\[\]]|{NAME_LINK.pattern})*)\]\(([^()\s]+)\)")


# Of functions and commands that share a name, nbdev takes the command; chapters mean the function.
FUNCTIONS = {"cli.html#train)": "runs.html#train)", "cli.html#export)": "reference.html#export)"}


def without_nested_links(text: str) -> str:
    "`text` without the links that nbdev made of names inside the text of other links."
    def plain(match):
        label = NAME_LINK.sub(r"\1", match[1])
        return f"[{label}]({match[3]})"
    return LINK.sub(plain, text)


def to_functions(text: str) -> str:
    "`text` with links to functions instead of commands."
    for command, function in FUNCTIONS.items(): text = text.replace(f"/{command}", f"/{function}")
    return text


def without_links_in_code(text: str) -> str:
    "`text` without the links that nbdev made of names in blocks of code, which it does in outputs."
    parts = text.split("```")
    return "```".join(NAME_LINK.sub(r"\1", part) if k % 2 else part for k, part in enumerate(parts))


def mend_links(cell):
    "A link within a link's text, or within code, shows as raw Markdown, so take it out; lead the others right."
    if cell.cell_type == "markdown": cell.source = to_functions(without_nested_links(cell.source))
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if "text/markdown" not in data: continue
        data["text/markdown"] = to_functions(without_links_in_code("".join(data["text/markdown"])))
