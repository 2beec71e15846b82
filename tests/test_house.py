"The house rules that a machine can check: which module may import which, documented parameters, links, README."
import ast
import dataclasses
import importlib
import inspect
import json
import re
import subprocess
import sys

import pytest

from conftest import ROOT
from place import notebooks

NOTEBOOKS = notebooks(ROOT / "nbs")
MODULES = [path.stem for path in sorted((ROOT / "srgan_nb").glob("*.py")) if not path.stem.startswith("_")]
DOCMENT = re.compile(r"\s+\**\w+.*, # |\) -> .*: # ") # the description of a parameter, or of what is returned
ALLOWED = dict(utils=set(), losses=set(), generator=set(), discriminator=set(), vgg=set(), data={"utils"}, metrics={"utils"},
    training={"utils", "data", "losses", "generator", "discriminator", "vgg"}, inference={"utils", "generator"}, convert={"generator"}, cli=set(MODULES))


def cells(path): return [(cell["cell_type"], "".join(cell["source"]), cell.get("outputs", [])) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_backwards(module):
    tree = ast.parse((ROOT / f"srgan_nb/{module}.py").read_text(encoding="utf-8"))
    ours = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module and (node.level or node.module.startswith("srgan_nb."))]
    used = {name.removeprefix("srgan_nb.").split(".")[0] for name in ours}
    assert used <= ALLOWED[module] and (used or not ALLOWED[module]) # no import at all would mean that none was seen


@pytest.mark.parametrize("module", MODULES)
def test_library_needs_no_nbdev(module):
    assert not re.search(r"^\s*(from|import) (fastcore|nbdev)", (ROOT / f"srgan_nb/{module}.py").read_text(encoding="utf-8"), re.M)


def documented(module):
    "Exported functions and classes, and the public methods written in those classes: name, source, names of parameters or fields."
    names = lambda function: [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
    loaded = importlib.import_module(f"srgan_nb.{module}")
    for name in loaded.__all__:
        thing = getattr(loaded, name)
        if inspect.isfunction(thing): yield name, thing.__doc__, inspect.getsource(thing), names(thing)
        if not inspect.isclass(thing): continue
        yield name, thing.__doc__, inspect.getsource(thing), [field.name for field in dataclasses.fields(thing)] if dataclasses.is_dataclass(thing) else names(thing.__init__)
        for method, function in vars(thing).items():
            function = getattr(function, "__func__", function)
            if inspect.isfunction(function) and (not method.startswith("_") or method == "__call__"):
                yield f"{name}.{method}", function.__doc__, inspect.getsource(function), names(function)


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_is_described(module):
    "Each exported function, class and method has a docstring, each of its parameters or fields a comment on its line; an option of the command line has its help instead."
    for name, doc, source, parameters in documented(module):
        assert doc and not doc.startswith(f"{name}("), f"{name} has no docstring"
        options = inspect.signature(getattr(importlib.import_module(f"srgan_nb.{module}"), name)).parameters if module == "cli" else {}
        for parameter in parameters:
            helped = parameter in options and any(getattr(about, "help", None) for about in getattr(options[parameter].annotation, "__metadata__", ()))
            assert helped or re.search(rf"^\s*\**{parameter}\b[^#\n]*#\s*\S", source, re.M), f"{name}: {parameter} has no comment"


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_is_shown(module):
    "nbdev's pages show what a visible cell exports; methods need a cell `show_doc(Class.method)`."
    shown = "\n".join(source for path in NOTEBOOKS for kind, source, _ in cells(path) if kind == "code" and not re.search(r"^#\|\s*hide", source, re.M))
    for name, *_ in documented(module):
        visible = f"show_doc({name})" in shown if "." in name else re.search(rf"^(def|class) {name}\b", shown, re.M)
        assert visible, f"{name} is shown nowhere"


def test_readme_is_the_index_notebook():
    from readme import readme
    text, pictures = readme()
    assert (ROOT / "README.md").read_text(encoding="utf-8") == text
    for path, data in pictures.items(): assert (ROOT / path).read_bytes() == data


def heading_ids(path):
    "Pandoc's automatic identifiers of a notebook's headings."
    for kind, source, _ in cells(path):
        for title in re.findall(r"^#+ (.*)$", source, re.M) if kind == "markdown" else []:
            plain = re.sub(r"[^\w\s.-]", "", re.sub(r"\$.*?\$", lambda m: re.sub(r"[\\{}_^,]", "", m[0]), title)).lower()
            yield re.sub(r"^[^a-z]+", "", re.sub(r"\s+", "-", plain.strip()))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_between_notebooks_resolve(path):
    for kind, source, _ in cells(path):
        for target, anchor in re.findall(r"\]\(([\w/.]*\.ipynb)?(?:#([\w.-]+))?\)", source) if kind == "markdown" else []:
            other = path.parent / target if target else path
            assert other.exists(), f"{path.name} links to {target}"
            if anchor: assert anchor in set(heading_ids(other)), f"{path.name} links to {target}#{anchor}"


EQUATIONS = [f"Eq. {n}" for n in range(1, 7)]
SOURCE_HEADINGS = ["1. Introduction", "1.1 Related work", "1.1.1 Image super-resolution", "1.1.2 Design of convolutional neural networks", "1.1.3 Loss functions", "1.2 Contribution",
    "2. Method", "2.1 Adversarial network architecture", "2.2 Perceptual loss function", "2.2.1 Content loss", "2.2.2 Adversarial loss", "Code: Training details and parameters",
    "Setup & Utils", "Generator", "Discriminator", "VGG_feature_extractor", "Main: Loading modules", "Device-agnostic code + hyper-parameters setting", "Preparing datasets",
    "Define generator, discriminator, feature_extractor (VGG)", "Optimizer & criterion", "TRAIN"]


@pytest.mark.parametrize("row", EQUATIONS + SOURCE_HEADINGS)
def test_index_says_where_it_is_treated(row):
    "Each equation of the paper and each heading of the source document has a row in the index, with a link (which the test above follows)."
    text = "\n".join(source for kind, source, _ in cells(ROOT / "nbs/index.ipynb") if kind == "markdown")
    assert re.search(rf"^\| {re.escape(row)} \|.*\]\([\w/.]+\.ipynb", text, re.M)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_fit_to_read(path):
    assert path.stat().st_size < 1_500_000
    for kind, source, outputs in cells(path):
        if kind != "code": continue
        lines = [line for line in source.splitlines() if line.strip() and not DOCMENT.match(line)]
        assert len(lines) <= 40, f"{path.name}: a cell of {len(lines)} lines, descriptions of parameters aside"
        assert not any(output["output_type"] == "error" for output in outputs), f"{path.name}: a saved error"
        if any("image/png" in output.get("data", {}) or "image/jpeg" in output.get("data", {}) for output in outputs):
            assert "fig-cap" in source and "fig-alt" in source, f"{path.name}: a picture without caption or alt text:\n{source}"


def test_every_notebook_opens_in_colab_and_installs_itself_there():
    "The badge at the top leads to the notebook itself; the install cell is the same everywhere (hidden on the landing page)."
    install = {}
    for path in NOTEBOOKS:
        first = cells(path)[1][1]
        assert f"/nbs/{path.relative_to(ROOT / 'nbs').as_posix()})" in first and "colab-badge.svg" in first, path.name
        install[path.name] = next(source for kind, source, _ in cells(path) if kind == "code").removeprefix("#| hide\n")
    assert len(set(install.values())) == 1 and "pip install" in install["index.ipynb"]


def test_no_machine_paths():
    for path in [*NOTEBOOKS, *ROOT.glob("*.md")]:
        assert not re.search(r"/(work|root|home)/\w", path.read_text(encoding="utf-8")), path


def test_package_loads_lazily():
    program = "import sys, srgan_nb; assert 'torch' not in sys.modules; from srgan_nb import Generator, Discriminator, VGGFeatures, Upscaler"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_version_stands_once():
    "The pinned version is named by the tool and nowhere else."
    import try_assets
    for path in [ROOT / ".ci/run", ROOT / ".github/workflows/docs.yml", ROOT / "tests/conftest.py", *(ROOT / "nbs/try").iterdir()]: assert try_assets.VERSION not in path.read_text(encoding="utf-8"), path


def test_saved_outputs_come_from_runs_with_all_data():
    "Cells that miss their data say so; the pages show what they say with it."
    for path in NOTEBOOKS:
        for _, source, outputs in cells(path): assert not re.search(r"names no folder here|skipped: needs|needs an extra", json.dumps(outputs)), (path.name, source[:80])
