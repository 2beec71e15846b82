"What several test files share: paths, the smallest configuration that trains, and fixtures."
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from filelock import FileLock
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from srgan_nb.checkpoint import state_tensors
from srgan_nb.cli import app
from srgan_nb.config import TINY, Config
from srgan_nb.data import sample_photos
from srgan_nb.devices import make_accelerator
from srgan_nb.generator import Generator
from srgan_nb.run_folder import read_metrics
from srgan_nb.vgg import VGGFeatures
from srgan_nb.weights import load_generator, save_generator

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / name) for name in ("tools", "benchmarks", "recipes")] # so that their tests can import them
from headless import CHROMIUM, FLAGS, served
from llms import copy_of, link_copy
from try_assets import has_runtime

# npm's packages: katex, which the preview loads from the net, and onnxruntime-web
NODE_MODULES = Path(os.environ.get("SRGAN_NODE_MODULES") or "absent")
HAS_RUNTIME = has_runtime(NODE_MODULES)
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="no chromium here: install Debian's package of that name")

BACKBONES = {"SRGAN_ALEXNET", "SRGAN_VGG16"}
needs_backbones = pytest.mark.skipif(
    not BACKBONES <= set(os.environ), reason="SRGAN_ALEXNET and SRGAN_VGG16 name no files: no classifiers")

SIDEBAR = (ROOT / "nbs/sidebar.yml").read_text(encoding="utf-8")
PAGES = re.findall(r"- ([\w/]+)\.ipynb", SIDEBAR) # the site's pages, the landing page first

SRGAN_COMMAND = [sys.executable, "-m", "srgan_nb.cli"] # the command in a separate process
CPU_FP32 = dict(device="cpu", precision="fp32") # with these, the same run gives the same bits


def tiny_config(**changes) -> Config:
    "TINY with even smaller networks, so that a few training steps take seconds."
    small = dict(n_blocks=1, channels=8, d_channels=4, crop=32, batch=4, log_every=1)
    return replace(TINY, **small | changes)


def loud_vgg(*phi):
    "VGG in float64 with random weights, whose features are as large as its input."
    torch.manual_seed(0)
    vgg = VGGFeatures(*phi, weights=None)
    for layer in vgg.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return vgg.double()


def red_disc(side: int, radius: int) -> Image.Image:
    "A red disc on transparent black."
    y, x = np.mgrid[:side, :side] - side // 2
    pixels = np.zeros((side, side, 4), np.uint8)
    pixels[x**2 + y**2 < radius**2] = 255, 60, 60, 255
    return Image.fromarray(pixels)


def metrics_without_times(run):
    "A run's metrics, without the seconds that differ from run to run."
    return [{key: value for key, value in line.items() if key != "seconds"} for line in read_metrics(run)]


def same_tensors(a, b):
    "Whether two runs or generator files hold the same numbers."
    x, y = (load_generator(name).state_dict() for name in (a, b))
    return x.keys() == y.keys() and all(torch.equal(x[key], y[key]) for key in x)


def snapshot(state):
    "Copies of what an unusable step must not change. The average and the counters of BatchNorm may change."
    tensors = state_tensors(state).items()
    return {key: t.clone() for key, t in tensors if not key.startswith("ema.") and "num_batches" not in key}


def pytest_collection_modifyitems(items):
    "Building the site takes minutes, so every test that uses it is slow."
    for item in items:
        if "site" in item.fixturenames:
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def default_signals():
    "A background job of a shell ignores Ctrl-C, and its children inherit that; tests send it to themselves."
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="module")
def one_thread_per_module():
    """One thread, also while a module's shared fixtures are made.

    Small networks are faster on one thread, and their sums come out the same on every machine.
    """
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread(one_thread_per_module):
    "One thread again for each test, because some tests take all threads."
    torch.set_num_threads(1)


@pytest.fixture
def accelerator():
    return make_accelerator(**CPU_FP32)


@pytest.fixture
def weights(tmp_path):
    "The file of a tiny generator with random weights."
    torch.manual_seed(0)
    path = tmp_path / "weights.safetensors"
    save_generator(Generator(1, 4), path)
    return path


@pytest.fixture
def srgan():
    "Runs the command in this process and returns its exit_code, stdout and stderr. A traceback fails the test."
    def run(*arguments):
        runner = CliRunner(env=dict(NO_COLOR="1", TERM="dumb"))
        result = runner.invoke(app, list(map(str, arguments)), prog_name="srgan")
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        return result
    return run


@pytest.fixture
def photos(tmp_path):
    "A folder of three small photographs."
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, photo in list(sample_photos().items())[:3]:
        photo.crop((100, 50, 220, 150)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def eval_dir():
    folder = Path(os.environ.get("SRGAN_EVAL") or "absent")
    if not folder.is_dir():
        pytest.skip("SRGAN_EVAL does not name a folder with Set5 and Set14")
    return folder


# nbdev_docs begins with these two steps
PREPARE_SITE = """
from nbdev.quarto import refresh_quarto_yml
from nbdev.serve import proc_nbs
if __name__ == "__main__":
    refresh_quarto_yml()
    proc_nbs()
"""


@pytest.fixture(scope="session")
def site(tmp_path_factory, worker_id):
    "The preview of the whole site. Several pytest processes share one."
    pytest.importorskip("smalldocs")
    if worker_id == "master": return build_site(tmp_path_factory.mktemp("site") / "project")
    copy = tmp_path_factory.getbasetemp().parent / "site/project"
    copy.parent.mkdir(exist_ok=True)
    with FileLock(copy.parent / "lock"):
        return copy / "_proc/_docs" if (copy / "_proc/_docs/llms.txt").exists() else build_site(copy)


def build_site(copy):
    "Prepare the site in a copy of the working tree, and render it."
    left_out = [".git", ".venv", "runs", "_proc", "_docs", "celeba-runs", "photo-runs", "ablation-runs", "srgan-demo"]
    ignored = shutil.ignore_patterns(*left_out)
    shutil.copytree(ROOT, copy, symlinks=True, ignore=ignored, dirs_exist_ok=True)
    # without ONNX Runtime Web the page `try` is there, but cannot compute
    runtime = [] if HAS_RUNTIME else ["--no-runtime"]
    commands = [
        ["-c", PREPARE_SITE],
        ["-m", "smalldocs.cli", "render", "_proc"],
        ["tools/try_assets.py", "_proc/_docs", *runtime],
        ["tools/llms.py", "_proc/_docs"],
    ]
    for command in commands:
        done = subprocess.run([sys.executable, *command], cwd=copy, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return copy / "_proc/_docs"


def build_quarto_page(folder):
    "A site of one page with Quarto's HTML, under our styles, and with its copy in Markdown."
    shutil.copytree(ROOT / "tests/fixtures/quarto", folder)
    shutil.copy(ROOT / "nbs/styles.css", folder)
    soup = BeautifulSoup((folder / "index.html").read_text(encoding="utf-8"), "html.parser")
    copy = copy_of(soup, {"index.html"}, "", "https://OWNER.github.io")
    (folder / "index.html.md").write_text(copy, encoding="utf-8")
    link_copy(folder / "index.html")
    return folder


@pytest.fixture(scope="module")
def address(site):
    "The site's address on a server that only this machine can reach."
    with served(site) as address:
        yield address


def with_long_timeout(context):
    "A browser context that waits for minutes before it gives up, because the machine may be busy."
    context.set_default_timeout(300_000)
    return context


@pytest.fixture(scope="module")
def browser():
    with pytest.importorskip("playwright.sync_api").sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
