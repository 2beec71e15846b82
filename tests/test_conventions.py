"The project's conventions that a machine can check: documented parameters, links, README, saved outputs."
import dataclasses
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from functools import partial

import pytest

from conftest import ROOT
from set_addresses import notebooks

NOTEBOOKS = notebooks(ROOT / "nbs")
MODULES = [path.stem for path in sorted((ROOT / "srgan_nb").glob("*.py")) if not path.stem.startswith("_")]
# the description of a parameter, of a field, of what is returned, or of an option of the command
DOCMENT = re.compile(r"\s+\**\w+.*, # |\s+\w+: [\w\[\]. |]+( = [^#]+)? # |\) -> .*: # |\s+\w+: Annotated\[")


def read_module(module):
    return (ROOT / f"srgan_nb/{module}.py").read_text(encoding="utf-8")


def cells(path):
    "Each cell of a notebook: its type, its source and its outputs."
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [(cell["cell_type"], "".join(cell["source"]), cell.get("outputs", [])) for cell in notebook["cells"]]


def sources(path, cell_type):
    "The sources of a notebook's `code` or `markdown` cells."
    return [source for kind, source, _ in cells(path) if kind == cell_type]


@pytest.mark.parametrize("module", MODULES)
def test_library_needs_no_nbdev(module):
    assert not re.search(r"^\s*(from|import) (fastcore|nbdev)", read_module(module), re.M)


def parameters_of(function):
    return [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]


def fields_of(cls):
    "A dataclass's fields, or the parameters of `__init__`."
    if dataclasses.is_dataclass(cls):
        return [field.name for field in dataclasses.fields(cls)]
    return parameters_of(cls.__init__) if "__init__" in vars(cls) else []


def methods_of(cls):
    "Name and function of the public methods that `cls` itself defines."
    for name, member in vars(cls).items():
        function = getattr(member, "__func__", member)
        if inspect.isfunction(function) and (not name.startswith("_") or name == "__call__"):
            yield name, function


def public_names(module):
    "A module's exported functions, classes and their methods: name, docstring, source, names of parameters or fields."
    loaded = importlib.import_module(f"srgan_nb.{module}")
    for name in loaded.__all__:
        value = getattr(loaded, name)
        if inspect.isfunction(value):
            yield name, value.__doc__, inspect.getsource(value), parameters_of(value)
        if inspect.isclass(value):
            yield name, value.__doc__, inspect.getsource(value), fields_of(value)
            for method, function in methods_of(value):
                yield f"{name}.{method}", function.__doc__, inspect.getsource(function), parameters_of(function)


def options_with_help(module, name):
    "The parameters of a command that have a help text. The other modules have no commands."
    if module != "cli":
        return set()
    command = getattr(importlib.import_module(f"srgan_nb.{module}"), name)
    options = set()
    for parameter in inspect.signature(command).parameters.values():
        metadata = getattr(parameter.annotation, "__metadata__", ())
        if any(getattr(option, "help", None) for option in metadata):
            options.add(parameter.name)
    return options


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_is_documented(module):
    """Each exported function, class and method has a docstring.

    Each of its parameters or fields has a comment on its line, or, if it is an option of the command, a help text.
    """
    for name, doc, source, parameters in public_names(module):
        assert doc and not doc.startswith(f"{name}("), f"{name} has no docstring"
        helped = options_with_help(module, name)
        for parameter in parameters:
            has_comment = re.search(rf"^\s*\**{parameter}\b[^#\n]*#\s*\S", source, re.M)
            assert parameter in helped or has_comment, f"{name}: {parameter} has no comment"


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_has_types(module):
    "Editors and type checkers see each parameter's type."
    loaded = importlib.import_module(f"srgan_nb.{module}")
    functions = [(name, getattr(loaded, name)) for name in loaded.__all__ if inspect.isroutine(getattr(loaded, name))]
    for cls in [getattr(loaded, name) for name in loaded.__all__ if inspect.isclass(getattr(loaded, name))]:
        functions += [(f"{cls.__name__}.{name}", function) for name, function in methods_of(cls)]
        if "__init__" in vars(cls) and not dataclasses.is_dataclass(cls):
            functions.append((cls.__name__, cls.__init__))
    for name, function in functions:
        parameters = inspect.signature(function).parameters
        untyped = [key for key, each in parameters.items() if each.annotation is each.empty]
        assert set(untyped) <= {"self", "cls"}, f"{name}: {untyped} without a type"


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_is_on_the_site(module):
    "nbdev leaves the code of an `export` cell out of its page; of an `exports` cell it shows all, methods as well."
    code = [source for path in NOTEBOOKS for source in sources(path, "code")]
    shown = "\n".join(source for source in code if source.startswith("#| exports"))
    for name, *_ in public_names(module):
        outer = name.split(".")[0]
        assert re.search(rf"^(def|class) {outer}\b", shown, re.M), f"no page shows {name}"


def test_reading_times_are_computed():
    "By tools/reading_time.py; Part I together takes less than five hours."
    from reading_time import SENTENCE, minutes
    part_one = 0
    for path in NOTEBOOKS:
        text = path.read_text(encoding="utf-8")
        for sentence in SENTENCE.findall(text):
            assert sentence == f"Reading time about {minutes(path)} minutes", path.name
        part_one += minutes(path) if re.match("0[0-7]_", path.name) else 0
    assert part_one < 300


def test_readme_is_the_index_notebook():
    from readme import readme
    text, pictures = readme()
    assert (ROOT / "README.md").read_text(encoding="utf-8") == text
    for path, data in pictures.items():
        assert (ROOT / path).read_bytes() == data


def heading_id(title):
    "Pandoc's automatic identifier of a heading."
    title = re.sub(r"\$.*?\$", lambda formula: re.sub(r"[\\{}_^,]", "", formula[0]), title)
    words = re.sub(r"[^\w\s.-]", "", title).lower().strip()
    return re.sub(r"^[^a-z]+", "", re.sub(r"\s+", "-", words))


def heading_ids(path):
    for source in sources(path, "markdown"):
        for title in re.findall(r"^#+ (.*)$", source, re.M):
            yield heading_id(title)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_between_notebooks_resolve(path):
    for source in sources(path, "markdown"):
        for target, anchor in re.findall(r"\]\(([\w/.]*\.ipynb)?(?:#([\w.-]+))?\)", source):
            other = path.parent / target if target else path
            assert other.exists(), f"{path.name} links to {target}"
            if anchor:
                assert anchor in set(heading_ids(other)), f"{path.name} links to {target}#{anchor}"


EQUATIONS = [f"Eq. {n}" for n in range(1, 7)]
SOURCE_HEADINGS = [
    "1. Introduction",
    "1.1 Related work",
    "1.1.1 Image super-resolution",
    "1.1.2 Design of convolutional neural networks",
    "1.1.3 Loss functions",
    "1.2 Contribution",
    "2. Method",
    "2.1 Adversarial network architecture",
    "2.2 Perceptual loss function",
    "2.2.1 Content loss",
    "2.2.2 Adversarial loss",
    "Code: Training details and parameters",
    "Setup & Utils",
    "Generator",
    "Discriminator",
    "VGG_feature_extractor",
    "Main: Loading modules",
    "Device-agnostic code + hyper-parameters setting",
    "Preparing datasets",
    "Define generator, discriminator, feature_extractor (VGG)",
    "Optimizer & criterion",
    "TRAIN",
]


@pytest.mark.parametrize("row", EQUATIONS + SOURCE_HEADINGS)
def test_index_links_to_each_part_of_the_sources(row):
    "Each equation of the paper and each heading of the source document has a row with a link in the index."
    text = "\n".join(sources(ROOT / "nbs/index.ipynb", "markdown"))
    assert re.search(rf"^\| {re.escape(row)} \|.*\]\([\w/.]+\.ipynb", text, re.M)


def is_picture(output):
    data = output.get("data", {})
    return "image/png" in data or "image/jpeg" in data


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_readable(path):
    "The file is small, cells are short, no error is saved, and pictures have a caption and an alt text."
    assert path.stat().st_size < 1_500_000
    for kind, source, outputs in cells(path):
        if kind != "code":
            continue
        lines = [line for line in source.splitlines() if line.strip() and not DOCMENT.match(line)]
        assert len(lines) <= 40, f"{path.name}: a cell of {len(lines)} lines, without the parameters' descriptions"
        assert not any(output["output_type"] == "error" for output in outputs), f"{path.name}: a saved error"
        if any(map(is_picture, outputs)):
            described = "fig-cap" in source and "fig-alt" in source
            assert described, f"{path.name}: a picture without caption or alt text:\n{source}"


def test_every_notebook_opens_in_colab_and_installs_the_package_there():
    "The badge at the top links to the notebook itself. The install cell is the same everywhere, and hidden."
    install_cells = {}
    for path in NOTEBOOKS:
        top = cells(path)[1][1]
        assert f"/nbs/{path.relative_to(ROOT / 'nbs').as_posix()})" in top, path.name
        assert "colab-badge.svg" in top, path.name
        install_cells[path.name] = sources(path, "code")[0]
    assert len(set(install_cells.values())) == 1
    assert install_cells["index.ipynb"].startswith("#| hide\n") and "pip install" in install_cells["index.ipynb"]


@pytest.mark.skipif(sys.platform == "win32", reason="the cell is for Colab, which has a shell")
@pytest.mark.parametrize("on_pypi", [True, False])
def test_the_install_cell_falls_back_to_the_repository(tmp_path, on_pypi):
    "With a stand-in for pip, which fails for PyPI's package if that is not there."
    code = sources(ROOT / "nbs/index.ipynb", "code")[0]
    shell = "\n".join(line for line in code.splitlines() if not line.startswith("#")).removeprefix("!")
    pip = tmp_path / "pip"
    script = f'#!/bin/sh\necho "$3" >> {tmp_path}/log\ncase "$3" in *git+*) ;; *) exit {int(not on_pypi)};; esac\n'
    pip.write_text(script, encoding="utf-8")
    pip.chmod(0o755)
    environment = os.environ | dict(PATH=f"{tmp_path}:{os.environ['PATH']}")
    run = partial(subprocess.run, capture_output=True, text=True, env=environment, shell=True)
    assert run(shell).returncode == 0 and not (tmp_path / "log").exists() # this is not Colab
    done = run(shell.replace("/content", str(tmp_path)))
    assert done.returncode == 0
    asked = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert asked[0] == "srgan-nb[notebook]"
    assert len(asked) == (1 if on_pypi else 2)
    if not on_pypi:
        assert re.fullmatch(r"srgan-nb\[notebook\] @ git\+https://github.com/[\w.-]+/srgan_nb", asked[1])
        assert "from its repository" in done.stdout


def test_no_page_names_a_folder_of_our_machine():
    for path in [*NOTEBOOKS, *ROOT.glob("*.md")]:
        assert not re.search(r"/(work|root|home)/\w", path.read_text(encoding="utf-8")), path


@pytest.mark.slow
def test_package_loads_lazily():
    program = (
        "import sys, srgan_nb\n"
        "assert 'torch' not in sys.modules\n"
        "from srgan_nb import Generator, Discriminator, VGGFeatures, Upscaler\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_version_of_onnxruntime_is_written_once():
    "tools/try_assets.py names the pinned version, and no other file does."
    import try_assets
    others = [ROOT / ".ci/run", ROOT / ".github/workflows/docs.yml", ROOT / "tests/conftest.py"]
    for path in [*others, *(ROOT / "nbs/try").iterdir()]:
        assert try_assets.VERSION not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("path", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_workflows_run_what_was_reviewed(path):
    "Actions are pinned by hash, since a tag can be moved; and a job may write nothing unless it says so."
    workflow = path.read_text(encoding="utf-8")
    for line in re.findall(r"uses: .*", workflow):
        assert re.fullmatch(r"uses: [\w/.-]+@[0-9a-f]{40} # v[\d.]+", line), line
    assert "\npermissions:\n  contents: read\n" in workflow


def test_saved_outputs_come_from_runs_with_all_data():
    "Cells print a message if their data is missing. No saved output may contain one."
    missing = r"names no folder here|skipped: needs|needs an extra"
    for path in NOTEBOOKS:
        for _, source, outputs in cells(path):
            assert not re.search(missing, json.dumps(outputs)), (path.name, source[:80])
