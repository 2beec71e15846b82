import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from srgan_nb.cli import app
from srgan_nb.data import sample_photos
from srgan_nb.generator import Generator, load_generator, save_generator
from srgan_nb.training import read_metrics

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / name) for name in ("tools", "benchmarks", "recipes")] # their tests import them
from headless import CHROMIUM, FLAGS, served
from try_assets import has_runtime

MODULES = Path(os.environ.get("SRGAN_NODE_MODULES") or "absent") # npm's packages: katex, which the preview loads from the net, and onnxruntime-web
HAS_RUNTIME = has_runtime(MODULES)
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="no chromium here: install Debian's package of that name")
PAGES = re.findall(r"- ([\w/]+)\.ipynb", (ROOT / "nbs/sidebar.yml").read_text(encoding="utf-8")) # of the site, the landing page first


HERE = dict(device="cpu", precision="fp32") # where the same run gives the same bits


def disc(side: int, radius: int) -> Image.Image:
    "A red disc on black that does not show."
    y, x = np.mgrid[:side, :side] - side // 2
    pixels = np.zeros((side, side, 4), np.uint8)
    pixels[x**2 + y**2 < radius**2] = 255, 60, 60, 255
    return Image.fromarray(pixels)


def timeless(run): return [{key: value for key, value in line.items() if key != "seconds"} for line in read_metrics(run)]


def same_tensors(a, b):
    "Whether two runs or generator files hold the same numbers."
    x, y = (load_generator(name).state_dict() for name in (a, b))
    return x.keys() == y.keys() and all(torch.equal(x[key], y[key]) for key in x)


@pytest.fixture
def weights(tmp_path):
    "A generator that costs nothing."
    torch.manual_seed(0)
    path = tmp_path / "weights.safetensors"
    save_generator(Generator(1, 4), path)
    return path


@pytest.fixture(autouse=True, scope="module")
def one_thread_from_the_start():
    "Small networks are faster on one thread, and sums come out the same on every machine; here for what a module's tests share."
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread(one_thread_from_the_start):
    "And again for each test: some take all threads."
    torch.set_num_threads(1)


@pytest.fixture
def srgan():
    "Run the command in this process; a result with exit_code, stdout, stderr. A traceback fails the test."
    def run(*arguments):
        result = CliRunner(env=dict(NO_COLOR="1", TERM="dumb")).invoke(app, list(map(str, arguments)), prog_name="srgan")
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
    if not folder.is_dir(): pytest.skip("SRGAN_EVAL does not name a folder with Set5 and Set14")
    return folder


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    "The preview of the whole site, built in a copy of what is committed or about to be."
    pytest.importorskip("smalldocs")
    copy = tmp_path_factory.mktemp("site") / "project"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(".git", ".venv", "_proc", "_docs", "celeba-runs", "photo-runs", "ablation-runs", "srgan-demo"))
    stage = "from nbdev.quarto import refresh_quarto_yml\nfrom nbdev.serve import proc_nbs\nif __name__ == '__main__': refresh_quarto_yml(); proc_nbs()" # as nbdev_docs begins
    runtime = [] if HAS_RUNTIME else ["--no-runtime"] # the page that computes is there without it, but cannot compute
    for command in (["-c", stage], ["-m", "smalldocs.cli", "render", "_proc"], ["tools/llms.py", "_proc/_docs"], ["tools/try_assets.py", "_proc/_docs", *runtime]):
        done = subprocess.run([sys.executable, *command], cwd=copy, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return copy / "_proc/_docs"


@pytest.fixture(scope="module")
def address(site):
    "The site, served on this machine only."
    with served(site) as address: yield address


def patient(context):
    "A browser context that waits minutes before it gives up: the machine may be busy."
    context.set_default_timeout(300_000)
    return context


@pytest.fixture(scope="module")
def browser():
    with pytest.importorskip("playwright.sync_api").sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
