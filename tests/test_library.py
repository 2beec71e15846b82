"The package inside other people's programs: what goes in, what comes out, and nothing else changes."
import ast
import copy
import os
import re
import shutil
import subprocess
import sys
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from srgan_nb.fast_tail import FastGenerator, TailConv, use_fast_tail
from srgan_nb.generator import Generator
from srgan_nb.inference import Upscaler
from srgan_nb.utils import open_photo, progress

from conftest import CPU_FP32, ROOT


def random_pictures(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def upscaler():
    torch.manual_seed(0)
    return Upscaler(Generator(1, 4), **CPU_FP32)


def work(upscaler, *batches):
    "Pixels that go through the features and through `render`, counted by hooks on layers."
    counts = dict(head=0, render=0)

    def count(name):
        def hook(layer, inputs, output):
            n, _, height, width = output.shape
            counts[name] += n * height * width
        return hook

    layers = dict(head=upscaler.generator.head[0], render=upscaler.generator.upsample[0][0])
    hooks = [layer.register_forward_hook(count(name)) for name, layer in layers.items()]
    for batch in batches:
        upscaler.upscale(batch)
    for hook in hooks:
        hook.remove()
    return counts


@pytest.mark.parametrize("n, side", [(17, 110), (32, 128), (3, 470), (100, 8), (2, 3)])
def test_a_batch_takes_no_more_work_than_a_loop(upscaler, n, side):
    "It is cut into smaller batches, not into smaller tiles."
    batch = random_pictures(n, 3, side, side)
    assert work(upscaler, batch) == work(upscaler, *batch.split(1))


def test_a_batch_has_the_results_of_a_loop(upscaler):
    for shape in [(17, 3, 110, 110), (2, 3, 30, 9000)]:
        batch = random_pictures(*shape)
        loop = torch.cat([upscaler.upscale(each) for each in batch.split(1)])
        assert (upscaler.upscale(batch) - loop).abs().max() < 1e-6


@pytest.mark.parametrize("tile", [None, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_results_are_ordinary_tensors(tile, dtype):
    "Of one tile or several: they can be changed, and take part in a loss."
    upscaler = Upscaler(Generator(1, 4), **CPU_FP32, tile=tile)
    lr = random_pictures(1, 3, 20, 20).to(dtype).requires_grad_()
    sr = upscaler.upscale(lr)
    assert not sr.is_inference() and not sr.requires_grad
    sr.mul_(1)
    layer = nn.Conv2d(3, 1, 1)
    layer(sr.float()).sum().backward()
    assert layer.weight.grad is not None and lr.grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8])
def test_answers_have_the_type_of_the_picture(upscaler, dtype):
    levels = (random_pictures(2, 3, 12, 9) * 255).byte()
    lr = levels if dtype == torch.uint8 else (levels / 255).to(dtype)
    sr = upscaler.upscale(lr)
    assert (sr.dtype, sr.device, sr.shape) == (dtype, lr.device, (2, 3, 48, 36))
    exact = upscaler.upscale((lr / 255 if dtype == torch.uint8 else lr).float())
    found = sr.float() / 255 if dtype == torch.uint8 else sr.float()
    assert (found - exact).abs().max() < 1 / 250


@pytest.mark.parametrize("wrong, message", [
    (random_pictures(1, 3, 5, 5) * 255, "divide levels by 255"),
    (random_pictures(1, 3, 5, 5) * 2 - 1, r"numbers in \[0, 1\], got -"),
    (torch.full((1, 3, 5, 5), float("nan")), "got nan to nan"),
    (torch.zeros(1, 3, 5, 5, dtype=torch.int64), "not torch.int64"),
    (np.zeros((5, 5, 3), np.uint8), "got ndarray; call the upscaler itself"),
])
def test_other_tensors_get_a_sentence(upscaler, wrong, message):
    with pytest.raises(ValueError, match=message):
        upscaler.upscale(wrong)


def test_arrays_come_back_as_arrays(upscaler):
    pixels = (random_pictures(7, 9, 3) * 255).byte().numpy()
    large = upscaler(pixels)
    assert (type(large), large.shape, large.dtype) == (np.ndarray, (28, 36, 3), np.uint8)
    assert (large == np.asarray(upscaler(Image.fromarray(pixels)))).all()
    assert (upscaler(pixels[..., ::-1]) == np.asarray(upscaler(Image.fromarray(pixels[..., ::-1].copy())))).all()
    for wrong in (pixels / 255, pixels[..., 0], pixels.transpose(2, 0, 1), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"an array \(H, W, 3\) of uint8, RGB, got"):
            upscaler(wrong)


def test_an_upscaler_says_what_it_is_and_moves(upscaler):
    assert upscaler.device == torch.device("cpu") and isinstance(upscaler.generator, Generator)
    text = repr(upscaler)
    assert text == "Upscaler(Generator(n_blocks=1, channels=4, scale=4), device='cpu', precision=torch.float32)"
    assert upscaler.to("cpu:0", torch.bfloat16) is upscaler
    assert (upscaler.device, upscaler.dtype) == (torch.device("cpu:0"), torch.bfloat16)
    assert upscaler.to(torch.device("cpu")).dtype == torch.bfloat16
    assert upscaler.to(torch.float32).dtype == torch.float32
    wrongs = {"cpu:9": "numbered from 0", "tpu": "not one of auto", torch.float16: "not one of auto"}
    for wrong, message in wrongs.items():
        with pytest.raises(ValueError, match=message):
            upscaler.to(wrong)
    assert Upscaler(Generator(1, 4), torch.device("cpu"), torch.float32).dtype == torch.float32


class Brighter(Generator):
    def forward(self, lr):
        return super().forward(lr) + 0.5


class BrighterTail(Generator):
    def render(self, maps):
        return super().render(maps) + 0.5


def test_a_forward_that_tiles_would_pass_by_is_refused(upscaler):
    with pytest.raises(ValueError, match="Brighter has a `forward` of its own"):
        Upscaler(Brighter(1, 4), **CPU_FP32)
    patched = Generator(1, 4)
    patched.forward = lambda lr: lr
    with pytest.raises(ValueError, match="a `forward` of its own"):
        Upscaler(patched, **CPU_FP32)
    lr = random_pictures(1, 3, 6, 6)
    handle = upscaler.generator.register_forward_hook(lambda *_: None) # after the upscaler was made
    with pytest.raises(ValueError, match="hooks on `forward`"):
        upscaler.upscale(lr)
    handle.remove()
    plain = upscaler.upscale(lr)
    changed = BrighterTail(1, 4)
    changed.load_state_dict(upscaler.generator.state_dict())
    assert not torch.equal(Upscaler(changed, **CPU_FP32).upscale(lr), plain)


def note(seen, name, layer, inputs, output):
    seen[name] = output.shape


def test_hooks_on_every_layer_run():
    "Those that the fast tail would skip, too, whether they were there before or come later."
    lr = random_pictures(1, 3, 6, 6)
    for when in ("before", "later"):
        torch.manual_seed(0)
        generator = Generator(1, 4)
        expected = Upscaler(copy.deepcopy(generator), **CPU_FP32).upscale(lr)
        upscaler = Upscaler(generator, **CPU_FP32) if when == "later" else None
        layers = {name: layer for name, layer in generator.named_modules() if name}
        seen = {}
        for name, layer in layers.items():
            layer.register_forward_hook(partial(note, seen, name))
        upscaler = upscaler or Upscaler(generator, **CPU_FP32)
        assert (upscaler.upscale(lr) - expected).abs().max() < 1e-5
        assert set(seen) == set(layers)
        assert seen["upsample.1.1"] == (1, 4, 24, 24) # after the last shuffle


def test_a_layer_of_your_own_is_not_replaced_by_the_fast_tail():
    class Doubled(nn.Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    generator = Generator(1, 4)
    generator.tail = Doubled(4, 3, 9, padding=4)
    assert type(use_fast_tail(generator)) is Generator and type(generator.tail) is Doubled
    plain = use_fast_tail(Generator(1, 4))
    assert (type(plain), type(plain.tail)) == (FastGenerator, TailConv)


def test_an_outer_autocast_changes_nothing(upscaler):
    lr = random_pictures(1, 3, 9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        inside = upscaler.upscale(lr)
    assert torch.equal(inside, upscaler.upscale(lr))


def test_a_home_folder_is_found(tmp_path, monkeypatch, weights):
    "`~` in a path that Python gets is as in a shell."
    from srgan_nb.files import atomic_path, read_tensors
    from srgan_nb.media import upscale_file
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    Image.new("RGB", (5, 4)).save(tmp_path / "a.png")
    upscaler = Upscaler.from_pretrained(f"~/{weights.name}", **CPU_FP32)
    assert open_photo("~/a.png").size == (5, 4)
    upscale_file("~/a.png", "~/b.png", upscaler)
    assert upscaler("~/b.png").size == (80, 64)
    with atomic_path("~/c.txt") as file:
        file.write_text("c", encoding="utf-8")
    assert (tmp_path / "c.txt").exists() and read_tensors(f"~/{weights.name}", "generator")


NO_COMPILER = """
import torch
from srgan_nb.generator import Generator
from srgan_nb.inference import Upscaler
upscaler = Upscaler(Generator(1, 4), device="cpu", precision="fp32", compile=True)
try: upscaler.upscale(torch.rand(1, 3, 8, 8))
except ValueError as error: print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there, another variable names the compiler")
def test_a_missing_compiler_is_one_sentence(tmp_path):
    absent = dict(CXX=str(tmp_path / "absent"), TORCHINDUCTOR_CACHE_DIR=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", NO_COMPILER], capture_output=True, text=True, env=os.environ | absent)
    assert done.stdout.startswith("the network can't be compiled here: ") and done.stdout.count("\n") == 1


def test_no_console_is_no_error(monkeypatch, upscaler):
    "Programs without a console have no standard streams."
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "stdout", None)
    assert list(progress([1, 2])) == [1, 2]
    assert upscaler(Image.new("RGB", (5, 4))).size == (20, 16)


def test_a_disk_without_modes_is_no_error(tmp_path, monkeypatch, weights):
    from srgan_nb.files import atomic_path
    from srgan_nb.weights import load_generator, save_generator

    def refuse(*_, **__):
        raise PermissionError("operation not permitted")

    monkeypatch.setattr("os.chmod", refuse)
    monkeypatch.setattr("pathlib.Path.chmod", refuse)
    for _ in range(2):
        with atomic_path(tmp_path / "g.safetensors") as temporary:
            save_generator(load_generator(weights), temporary)
    load_generator(tmp_path / "g.safetensors")


USER_PROGRAM = """
from pathlib import Path

import numpy as np
import torch

from srgan_nb import Generator, Upscaler

upscaler = Upscaler.from_pretrained("photo", device=torch.device("cpu"), precision=torch.float32, revision="main")
reveal_type(upscaler.upscale(torch.zeros(1, 3, 4, 4)))
reveal_type(upscaler(Path("a.png")))
reveal_type(upscaler(np.zeros((4, 4, 3), np.uint8)))
reveal_type(upscaler.to("cpu", torch.bfloat16).generator)
reveal_type(Generator.from_pretrained("srgan"))
"""
WRONG_PROGRAM = """
import srgan_nb

srgan_nb.Upscaler.from_pretrained("photo", devise="cpu")
srgan_nb.Upscalar
"""
TYPES = ["Tensor", "Image", "ndarray", "Generator", "Generator"]


def mypy(tmp_path, *arguments):
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", f"--cache-dir={tmp_path}/cache", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout


@pytest.mark.slow
def test_type_checkers_see_real_types(tmp_path):
    "In a user's program under `--strict`, where wrong names are found, too. And our own modules are clean."
    assert mypy(tmp_path).startswith("Success")
    (tmp_path / "user.py").write_text(USER_PROGRAM, encoding="utf-8")
    (tmp_path / "wrong.py").write_text(WRONG_PROGRAM, encoding="utf-8")
    found = mypy(tmp_path, "--strict", tmp_path / "user.py", tmp_path / "wrong.py")
    revealed = re.findall(r'Revealed type is ".*?(\w+)(?:\[.*)?"', found)
    errors = [line for line in found.splitlines() if "error:" in line]
    assert revealed == TYPES and all("wrong.py" in line for line in errors), found
    assert [re.search(r"\[[\w-]+\]$", line)[0] for line in errors] == ["[call-arg]", "[attr-defined]"]


@pytest.mark.slow
def test_imports_warn_of_nothing():
    "Not even if warnings are errors, and with a home folder that can't be found."
    everything = "; ".join(f"import srgan_nb.{path.stem}" for path in sorted((ROOT / "srgan_nb").glob("[a-z]*.py")))
    nowhere = {key: value for key, value in os.environ.items() if key not in ("HOME", "USERPROFILE")}
    for program, environment in [("import srgan_nb", None), (everything, None), (everything, nowhere)]:
        command = [sys.executable, "-W", "error", "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-1000:]


ENLARGES = """
import sys
for name in "accelerate torchvision skimage scipy matplotlib tifffile pyvips psutil fastcore nbdev".split():
    sys.modules[name] = None
import torch
from PIL import Image
from srgan_nb import Upscaler
upscaler = Upscaler.from_pretrained("photo", device="cpu", precision="fp32")
print(upscaler(Image.new("RGB", (5, 4))).size, tuple(upscaler.upscale(torch.zeros(1, 3, 4, 5)).shape))
"""


def test_enlarging_needs_few_packages():
    "No more than help.ipynb lists for those who only enlarge pictures."
    done = subprocess.run([sys.executable, "-c", ENLARGES], capture_output=True, text=True)
    assert done.stdout == "(20, 16) (1, 3, 16, 20)\n", done.stderr


def test_a_large_result_without_its_extra_is_one_sentence(tmp_path, monkeypatch, upscaler):
    from srgan_nb.media import upscale_file

    def full(*_):
        raise MemoryError

    Image.new("RGB", (5, 4)).save(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "pyvips", None)
    upscale_file(tmp_path / "a.png", tmp_path / "b.png", upscaler)
    monkeypatch.setattr(Upscaler, "strips", full)
    with pytest.raises(OSError, match=r"c.png: .*no memory for the whole result; pip install 'srgan-nb\[large\]'"):
        upscale_file(tmp_path / "a.png", tmp_path / "c.png", upscaler)
    assert not (tmp_path / "c.png").exists()


HELP = """
import inspect, sys
from srgan_nb import Upscaler, __file__ as package
from srgan_nb.weights import load_generator
assert package.startswith(sys.argv[1]), package
for documented in (Upscaler.__init__, Upscaler.upscale, Upscaler.from_pretrained, load_generator):
    text = inspect.getdoc(documented)
    for name in inspect.signature(documented).parameters:
        assert name == "self" or f"    {name}: " in text, (documented, name)
print(inspect.getdoc(Upscaler.upscale))
"""


@pytest.mark.slow
def test_the_wheel_has_what_users_need_and_no_more(tmp_path):
    "Types, licences and docstrings that describe each parameter; nothing of nbdev's. Otherwise it has the same code."
    pytest.importorskip("build")
    source, unpacked = tmp_path / "source", tmp_path / "unpacked"
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT).stdout.splitlines()
    for name in listed:
        if name.startswith(("srgan_nb/", "tools/")) or "/" not in name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wheel, = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(unpacked)
    about, = unpacked.glob("*.dist-info")
    scripts = (about / "entry_points.txt").read_text(encoding="utf-8")
    assert "nbdev" not in scripts and "srgan = srgan_nb.cli:start" in scripts
    for licence in ("LICENSE", "srgan_nb/weights/LICENSE"):
        assert (about / "licenses" / licence).read_bytes() == (ROOT / licence).read_bytes()
    package = {path.relative_to(unpacked).as_posix() for path in (unpacked / "srgan_nb").rglob("*") if path.is_file()}
    assert package == {name for name in listed if name.startswith("srgan_nb/")} - {"srgan_nb/_modidx.py"}
    for name in package:
        if name.endswith(".py"):
            assert code_of(unpacked / name) == code_of(ROOT / name), name
    there = os.environ | dict(PYTHONPATH=str(unpacked))
    command = [sys.executable, "-c", HELP, str(unpacked)]
    text = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=there).stdout
    assert "\nArgs:\n    lr: `(N, 3, H, W)`, RGB" in text and "\nReturns:\n    `(N, 3, " in text


def code_of(path):
    "A module's syntax tree without docstrings."
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node, clean=False):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def test_every_dependency_has_a_lower_bound_that_is_tested():
    from oldest import pins
    assert pins() and all("==" in pin for pin in pins())
