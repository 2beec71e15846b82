"The library inside other people's programs: it changes nothing of theirs, and nothing of theirs changes what it does."
import logging
import multiprocessing
import os
import subprocess
import sys
from contextlib import contextmanager
from io import StringIO
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch import nn

from srgan_nb.checkpoint import new_state
from srgan_nb.config import Stage
from srgan_nb.data import sample_photos
from srgan_nb.generator import Generator
from srgan_nb.run_folder import log_once, read_record
from srgan_nb.training import train
from srgan_nb.utils import progress
from srgan_nb.vgg import VGGFeatures
from srgan_nb.weights import load_generator

from conftest import CPU_FP32, same_tensors, tiny_config

CONFIG = tiny_config(srresnet=Stage(2), srgan=Stage(2), save_every=2)
BF16 = dict(device="cpu", precision="bf16")


def train_here(run, config=CONFIG, **options):
    return train(config, sample_photos(), run, **CPU_FP32 | options)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    "A run in a process where nothing is unusual."
    return train_here(tmp_path_factory.mktemp("runs") / "alone")


@pytest.fixture(scope="module")
def alone_bf16(tmp_path_factory):
    return train_here(tmp_path_factory.mktemp("runs") / "bf16", **BF16)


# PyTorch's settings

@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try: yield
    finally: torch.set_default_dtype(before)


def settings():
    autocast = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
    return torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(), \
        torch.is_inference_mode_enabled(), autocast


HOSTS = dict(
    float64=lambda: default_dtype(torch.float64),
    float16=lambda: default_dtype(torch.float16),
    device=lambda: torch.device("meta"), # stands for any device that isn't the CPU
    no_grad=torch.no_grad,
    inference=torch.inference_mode,
    autocast=lambda: torch.autocast("cpu", torch.bfloat16),
)


@pytest.mark.parametrize("host", HOSTS)
def test_the_caller_s_settings_change_no_weight_and_stay(alone, tmp_path, host):
    with HOSTS[host]():
        before = settings()
        run = train_here(tmp_path / "run")
        assert settings() == before
    assert same_tensors(alone, run)


def test_an_outer_autocast_does_not_keep_the_first_steps_weights(alone_bf16, tmp_path):
    "PyTorch empties the cache of bfloat16 copies when the outermost autocast ends."
    with torch.autocast("cpu", torch.bfloat16):
        run = train_here(tmp_path / "run", **BF16)
    assert same_tensors(alone_bf16, run)


@pytest.mark.parametrize("host", HOSTS)
def test_weights_load_as_documented_in_any_program(weights, host):
    "In float32, on the CPU, and as ordinary tensors that can be trained."
    with HOSTS[host]():
        g = load_generator(weights)
    assert {(p.dtype, p.device.type, p.is_inference()) for p in g.parameters()} == {(torch.float32, "cpu", False)}
    assert torch.equal(g.tail.weight, load_generator(weights).tail.weight)


@pytest.fixture
def vgg_file(tmp_path):
    from safetensors.torch import save_file
    save_file(VGGFeatures(2, 2, weights=None).state_dict(), tmp_path / "vgg.safetensors")
    return tmp_path / "vgg.safetensors"


def test_nobody_s_random_numbers_are_moved(weights, vgg_file, tmp_path):
    saved = tmp_path / "saved"
    Generator(1, 4).save_pretrained(saved)
    vgg_config = tiny_config(srresnet=Stage(1), srgan=Stage(1), content="vgg", phi=(2, 2))
    deeds = {
        "a generator": lambda: load_generator(weights),
        "a saved folder": lambda: load_generator(saved),
        "bundled weights": lambda: load_generator("srresnet"),
        "VGG": lambda: VGGFeatures(2, 2, weights=vgg_file),
        "fresh networks": lambda: new_state(CONFIG, "srgan", 1, torch.device("cpu")),
        "a run": lambda: train_here(tmp_path / "run", vgg_config, vgg=vgg_file),
        "a run from weights": lambda: train_here(tmp_path / "init", init=tmp_path / "run"),
        "a resumed run": lambda: train_here(tmp_path / "init", None, resume=True),
    }
    for name, deed in deeds.items():
        torch.manual_seed(7)
        deed()
        assert torch.initial_seed() == 7, name
        drawn = torch.rand(3)
        torch.manual_seed(7)
        assert torch.equal(drawn, torch.rand(3)), name


# Accelerate

@pytest.fixture
def fresh_accelerate():
    "No Accelerator has been made yet; afterwards there is none either."
    def reset():
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()

    reset()
    yield
    reset()


def test_a_program_that_trains_twice_around_its_own_accelerator(fresh_accelerate, alone, tmp_path):
    "In bfloat16 with accumulation over four batches, in whose middle two runs in float32 take place."
    ours = Accelerator(cpu=True, mixed_precision="bf16", gradient_accumulation_steps=4)
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    model, optimizer = ours.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    states = [kind._shared_state for kind in (AcceleratorState, PartialState, GradientState)]

    def accumulate(batches):
        synchronised = []
        for _ in range(batches):
            with ours.accumulate(model):
                ours.backward(model(torch.ones(2, 4)).sum())
                optimizer.step()
                optimizer.zero_grad()
                synchronised.append(ours.sync_gradients)
        return synchronised

    assert accumulate(2) == [False, False]
    runs = [train_here(tmp_path / name) for name in "ab"]
    assert all(same_tensors(alone, run) for run in runs)
    assert accumulate(2) == [False, True]
    assert (ours.mixed_precision, ours.gradient_accumulation_steps) == ("bf16", 4)
    with ours.autocast():
        assert torch.is_autocast_enabled("cpu")
    assert [kind._shared_state for kind in (AcceleratorState, PartialState, GradientState)] == states
    assert Accelerator().mixed_precision == "bf16" # what is made afterwards belongs to the program, too


def test_a_run_that_fails_gives_the_accelerator_back(fresh_accelerate, tmp_path):
    ours = Accelerator(cpu=True, mixed_precision="bf16")
    with pytest.raises(ValueError, match="3 slices"):
        train_here(tmp_path / "run", tiny_config(accumulate=3))
    assert AcceleratorState().mixed_precision == ours.mixed_precision == "bf16"


VARIABLES = dict(
    ACCELERATE_GRADIENT_ACCUMULATION_STEPS="4",
    ACCELERATE_MIXED_PRECISION="bf16",
    ACCELERATE_DYNAMO_BACKEND="EAGER",
    ACCELERATE_DEBUG_MODE="1",
    ACCELERATE_TORCH_DEVICE="meta",
    ACCELERATE_USE_FSDP="true",
    RANK="1",
    WORLD_SIZE="2", # without an address to meet at
    LOCAL_RANK="1",
)


def test_variables_of_the_environment_decide_nothing(alone, tmp_path, monkeypatch):
    "Neither those that Accelerate reads nor what a launcher has left behind. They are still there afterwards."
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    run = train_here(tmp_path / "run")
    assert dict(os.environ) == before
    assert same_tensors(alone, run)
    assert read_record(run) | dict(started="") == read_record(alone) | dict(started="")


# Threads, event loops, and processes

SERVER = """
import asyncio, sys
from PIL import Image
from srgan_nb.inference import Upscaler
from srgan_nb.weights import load_generator

upscaler = Upscaler(load_generator(sys.argv[1]), device="cpu", precision="fp32")
photos = [Image.effect_noise((20 + k, 30), 50).convert("RGB") for k in range(8)]
expected = [upscaler(photo).tobytes() for photo in photos]

async def main():
    ticks = 0

    async def clock():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(clock())
    work = [asyncio.to_thread(upscaler, photo) for photo in photos] + [asyncio.to_thread(load_generator, sys.argv[1])]
    *results, _ = await asyncio.gather(*work)
    ticking.cancel()
    assert [result.tobytes() for result in results] == expected
    assert ticks > len(photos)

asyncio.run(main())
"""

TRAIN_IN_A_THREAD = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from srgan_nb.config import TINY, Stage
from srgan_nb.data import sample_photos
from srgan_nb.training import train

config = replace(TINY, srresnet=Stage(2), srgan=Stage(2), n_blocks=1, channels=8, d_channels=4, crop=32, save_every=2)
with ThreadPoolExecutor() as pool: # as a server that trains in the background
    pool.submit(train, config, sample_photos(), sys.argv[1], device="cpu", precision="fp32").result()
"""

START = """
import multiprocessing, sys
from pathlib import Path
import torch
from PIL import Image
from srgan_nb.inference import Upscaler
from srgan_nb.media import upscale_file
from srgan_nb.weights import load_generator

def work(photo, weights, target):
    upscale_file(photo, target, Upscaler(load_generator(weights), device="cpu", precision="fp32"))

if __name__ == "__main__":
    how, photo, weights, folder = sys.argv[1:]
    torch.set_num_threads(2)
    work(photo, weights, f"{folder}/here.png") # now OpenMP and libvips have threads
    context = multiprocessing.get_context(how)
    processes = [context.Process(target=work, args=(photo, weights, f"{folder}/{k}.png")) for k in range(2)]
    for process in processes: process.start()
    for process in processes: process.join(200)
    assert [process.exitcode for process in processes] == [0, 0]
    here, *others = (Image.open(f"{folder}/{name}.png") for name in ("here", 0, 1))
    assert all(other.tobytes() == here.tobytes() for other in others)
"""


def run_program(tmp_path, text, *arguments):
    "Run a program of its own, in which nothing is ours but the library. OpenMP has several threads."
    program = tmp_path / "program.py"
    program.write_text(text, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, program, *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.slow
def test_an_event_loop_with_threads(tmp_path, weights):
    "One upscaler for all requests; the loop goes on while they are served."
    run_program(tmp_path, SERVER, weights)


@pytest.mark.slow
def test_a_run_in_a_thread(alone, tmp_path):
    run_program(tmp_path, TRAIN_IN_A_THREAD, tmp_path / "run")
    assert read_record(tmp_path / "run")["config"]["srgan"]["steps"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("how", ["spawn", "fork"])
def test_processes_started_after_use(tmp_path, weights, photos, how):
    "They neither hang nor write other pixels."
    if how not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {how}")
    run_program(tmp_path, START, how, photos / "coffee.png", weights, tmp_path)


# Lines

LOGS = """
import logging
import sys
from dataclasses import replace

from PIL import Image

from srgan_nb.config import TINY, Stage
from srgan_nb.data import sample_photos
from srgan_nb.training import train

_, run, *levels = sys.argv
for level in levels: logging.basicConfig(level=level, format="%(name)s, %(filename)s: %(message)s")
config = replace(TINY, srresnet=Stage(1), srgan=Stage(), n_blocks=1, channels=4, crop=48, batch=2)
train(config, sample_photos() | {"low": Image.new("RGB", (9, 9))}, run, device="cpu", precision="fp32")
"""
SKIPPED = "skipped low: 9 x 9 pixels, smaller than the crop of 48"
BEGINS = "srresnet: step 0 to 1 on cpu, 5 photos, fp32"


@pytest.mark.slow
def test_a_program_decides_what_it_shows_of_the_log(tmp_path):
    "Warnings show in any case, on stderr. Nothing is printed."
    done = run_program(tmp_path, LOGS, tmp_path / "plain")
    assert (done.stdout, done.stderr.splitlines()) == ("", [SKIPPED])
    done = run_program(tmp_path, LOGS, tmp_path / "all", "INFO")
    expected = [f"srgan_nb, training.py: {line}" for line in (SKIPPED, BEGINS)]
    assert (done.stdout, done.stderr.splitlines()) == ("", expected)
    done = run_program(tmp_path, LOGS, tmp_path / "nothing", "ERROR")
    assert (done.stdout, done.stderr) == ("", "")


def test_the_command_shows_the_log_and_takes_its_handler_away(srgan, photos, tmp_path):
    (photos / "fake.png").write_text("not a photo", encoding="utf-8")
    before = list(logging.root.handlers)
    result = srgan("train", "--data", photos, "--out", tmp_path / "run", "--steps", 1, "--device", "cpu")
    assert result.stdout.startswith("srresnet: step 0 to 1 on cpu, ")
    assert "skipped fake.png: " in result.stderr and "skipped" not in result.stdout
    assert logging.root.handlers == before


class Terminal(StringIO):
    def isatty(self): return True


def test_a_line_does_not_tear_the_bar(monkeypatch):
    screen = Terminal()
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", screen)
    shown = logging.StreamHandler(screen)
    logger = logging.getLogger("srgan_nb")
    logger.addHandler(shown)
    try:
        with progress(total=2, desc="training") as bar:
            bar.update()
            log_once(SimpleNamespace(is_main_process=False), "of the second process")
            log_once(SimpleNamespace(is_main_process=True), "a line")
    finally: logger.removeHandler(shown)
    before, after = screen.getvalue().split("a line\n")
    assert "training" in before and before.endswith("\r") and not before.split("\r")[-2].strip()
    assert "training" in after and "second" not in before
