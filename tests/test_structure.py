"The plan of the house, made enforceable: who may import whom, how long things may be, how far it is to a loss."
import ast
import importlib
import traceback
from contextlib import nullcontext

import pytest

from srgan_nb.config import Stage
from srgan_nb.data import sample_photos
from srgan_nb.training import train

from conftest import CPU_FP32, ROOT, tiny_config

# Modules in reading order, and what each imports: always from chapters before it.
ALLOWED = {
    # Part I: the paper
    "losses": "",
    "utils": "",
    "data": "utils",
    "metrics": "utils",
    "generator": "",
    "discriminator": "",
    "vgg": "utils",
    "config": "",
    "steps": "config losses metrics utils vgg",
    # Part II: runs that last, and run fast
    "files": "",
    "weights": "files generator",
    "checkpoint": "config discriminator files generator weights",
    "devices": "",
    "fast_tail": "generator",
    "cuda_graph": "checkpoint",
    "photo_cache": "data files",
    "processes": "",
    "run_folder": "checkpoint config data devices files generator utils vgg weights",
    "preflight": "checkpoint config data losses run_folder vgg",
    "training": "checkpoint config cuda_graph data devices fast_tail generator photo_cache preflight processes"
        " run_folder steps utils",
    # Part III: using it
    "formats": "",
    "metadata": "formats",
    "tiling": "generator",
    "rows": "fast_tail generator",
    "inference": "devices fast_tail generator rows tiling utils weights",
    "media": "files formats inference metadata utils",
    "export": "fast_tail files generator utils",
    "evaluation": "data inference metrics processes utils",
    "paths": "formats",
    "cli": "paths processes",
    "convert": "files generator",
    "degradations": "data utils",
}
# Imports inside a function, so that a part is loaded only if it is used.
LATER = {"weights": "convert", "utils": "formats", "data": "formats photo_cache", "devices": "processes",
    "photo_cache": "processes", "processes": "devices", "cli": " ".join(ALLOWED)}
ORDER = list(ALLOWED)
LONGEST_MODULE, LONGEST_FUNCTION, MOST_PARAMETERS, FARTHEST_LOSS = 400, 45, 9, 8


def source(module): return (ROOT / f"srgan_nb/{module}.py").read_text(encoding="utf-8")


def imports(module):
    "Our modules that a module imports: at its top, and inside functions."
    tree = ast.parse(source(module))
    def ours(node):
        return isinstance(node, ast.ImportFrom) and node.module and (node.level or "srgan_nb." in node.module)

    top = {node for node in tree.body if ours(node)}
    inside = {node for node in ast.walk(tree) if ours(node)} - top
    return [{node.module.removeprefix("srgan_nb.") for node in nodes} for nodes in (top, inside)]


def test_the_table_covers_every_module():
    modules = {path.stem for path in (ROOT / "srgan_nb").glob("*.py") if not path.stem.startswith("_")}
    assert modules == set(ALLOWED)


@pytest.mark.parametrize("module", ALLOWED)
def test_modules_import_what_the_table_says(module):
    top, inside = imports(module)
    assert top == set(ALLOWED[module].split())
    assert inside <= set(LATER.get(module, "").split())


@pytest.mark.parametrize("module", ALLOWED)
def test_imports_point_backwards(module):
    "Which also means that there is no circle."
    assert all(ORDER.index(other) < ORDER.index(module) for other in ALLOWED[module].split())


@pytest.mark.parametrize("module", ALLOWED)
def test_private_names_stay_at_home(module):
    for node in ast.walk(ast.parse(source(module))):
        if isinstance(node, ast.ImportFrom) and (node.level or "srgan_nb" in (node.module or "")):
            names = {name.name for name in node.names} - {"__version__", "__file__"}
            assert not [name for name in names if name.startswith("_")]


@pytest.mark.parametrize("module", ALLOWED)
def test_modules_and_functions_are_short(module):
    code = [line for line in source(module).splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(code) <= LONGEST_MODULE
    for node in ast.walk(ast.parse(source(module))):
        if not isinstance(node, ast.FunctionDef): continue
        body = node.end_lineno - node.body[0].lineno + 1
        assert body <= LONGEST_FUNCTION, f"{node.name}: {body} lines"
        parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        parameters = [parameter for parameter in parameters if parameter.arg not in ("self", "cls")]
        if module != "cli" and node.name != "train":
            assert len(parameters) <= MOST_PARAMETERS, f"{node.name}: {len(parameters)} parameters"


@pytest.mark.parametrize("name", ["pixel_loss", "discriminator_loss", "adversarial_loss"])
def test_a_loss_is_near(name, tmp_path, monkeypatch):
    "Stack frames from `train` to a loss."
    depths = []
    loss = getattr(__import__("srgan_nb.losses", fromlist=[name]), name)

    def counted(*arguments, **options):
        functions = [frame.name for frame in traceback.extract_stack()]
        depths.append(len(functions) - 1 - functions.index("train"))
        return loss(*arguments, **options)

    monkeypatch.setattr(f"srgan_nb.steps.{name}", counted)
    short = tiny_config(srresnet=Stage(1), srgan=Stage(2), d_warmup=1)
    train(short, sample_photos(), tmp_path / "run", **CPU_FP32)
    assert depths and max(depths) <= FARTHEST_LOSS


def test_the_page_of_the_loop_comes_first():
    "A reader of 07 meets the loop before any exported code of that chapter."
    import json
    cells = json.loads((ROOT / "nbs/07_training.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells]
    loop = next(i for i, text in enumerate(sources) if "def srgan_loop" in text)
    exports = [i for i, text in enumerate(sources) if text.startswith("#| export")]
    exported = next(i for i in exports if "def " in sources[i] or "class " in sources[i])
    assert loop < exported


def test_old_names_are_found_where_they_are_now():
    "Silently if only the module changed, with a warning if the name did."
    from srgan_nb import _MOVED, old_home
    for module, homes in _MOVED.items():
        old_module = importlib.import_module(f"srgan_nb.{module}")
        for item in " ".join(homes.values()).split():
            name = item.split("=")[0]
            home, new_name = old_home(module, name)
            new = getattr(importlib.import_module(f"srgan_nb.{home}"), new_name)
            warning = pytest.warns(DeprecationWarning, match=new_name) if new_name != name else nullcontext()
            with warning: assert getattr(old_module, name) is new
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = importlib.import_module("srgan_nb.data").nothing
