"""Several processes on one machine give the same run and the same files as one process.

They are started by PyTorch's own launcher and use its CPU backend, gloo.
"""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest

from srgan_nb.checkpoint import list_checkpoints
from srgan_nb.config import Stage
from srgan_nb.data import sample_photos
from srgan_nb.files import read_tensors
from srgan_nb.run_folder import read_metrics, read_record
from srgan_nb.training import train

from conftest import CPU_FP32, metrics_without_times, same_tensors, tiny_config

pytestmark = pytest.mark.slow

CONFIG = tiny_config(srresnet=Stage(20), srgan=Stage(20, warmup=5), d_warmup=2, save_every=10, log_every=5)
ONE_THREAD = dict(OMP_NUM_THREADS="1")
TRAIN = """
import json, logging, sys, torch
from srgan_nb.data import sample_photos
from srgan_nb.config import Config
from srgan_nb.run_folder import read_record
from srgan_nb.training import train
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
torch.set_num_threads(1)

def work():
    config, run = Config.from_dict(json.loads(sys.argv[1])), sys.argv[2]
    train(config, sample_photos(), run, resume=read_record(run) is not None, device="cpu", precision="fp32")
"""


def launch(*program, options=("--standalone", "--nproc_per_node", "2")):
    "Start `program` in two processes."
    command = [sys.executable, "-m", "torch.distributed.run", *options, *program]
    environment = os.environ | ONE_THREAD | dict(ACCELERATE_USE_CPU="true")
    pipe = subprocess.PIPE
    return subprocess.Popen(list(map(str, command)), stdout=pipe, stderr=pipe, text=True, env=environment)


def finish(*processes):
    "Wait until all have ended without an error."
    for process in processes:
        out, err = process.communicate(timeout=900)
        assert process.returncode == 0, out[-1000:] + err[-3000:]


@pytest.fixture
def script(tmp_path):
    "A program that trains: its arguments are the configuration as JSON, and the run's folder."
    path = tmp_path / "script.py"
    path.write_text(TRAIN + "\nwork()\n", encoding="utf-8")
    return path


def as_json(config):
    return json.dumps(asdict(config))


def parameters(run):
    "The parameters of G, its average and D. BatchNorm's running statistics are left out: each process has its own."
    tensors = read_tensors(list_checkpoints(run)[0], "checkpoint")[1]
    kept = {}
    for key, t in tensors.items():
        is_statistic = "running" in key or "num_batches" in key
        if key.split(".")[0] in ("g", "ema", "d") and not is_statistic:
            kept[key] = t
    return kept


def nearly_equal(a, b, tolerance=1e-5):
    "Whether two runs have learned the same parameters, up to rounding."
    a, b = parameters(a), parameters(b)
    return a.keys() == b.keys() and max((a[key] - b[key]).abs().max().item() for key in a) < tolerance


def train_alone(config, run, **options):
    "Train in this process."
    return train(config, sample_photos(), run, **CPU_FP32, **options)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    "A run of one process that accumulates the gradients of two slices."
    return train_alone(replace(CONFIG, accumulate=2), tmp_path_factory.mktemp("runs") / "alone")


# Training

@pytest.mark.parametrize("joint", [False, True])
def test_two_processes_learn_what_one_learns_with_accumulation(script, tmp_path, joint):
    one = train_alone(replace(CONFIG, accumulate=2, joint=joint), tmp_path / "one")
    two = tmp_path / "two"
    finish(launch(script, as_json(replace(CONFIG, joint=joint)), two))
    assert read_record(two)["processes"] == 2
    assert nearly_equal(one, two)
    ours, theirs = metrics_without_times(one), metrics_without_times(two)
    # each line is written once, not once per process
    assert [line["step"] for line in theirs] == [line["step"] for line in ours]
    for a, b in zip(ours, theirs):
        for key in ("g_loss", "d_loss"):
            if a.get(key):
                assert b[key] == pytest.approx(a[key], rel=1e-4)


def test_batchnorm_sees_slices_and_not_the_whole_batch(alone, tmp_path):
    """Shows that `nearly_equal` can fail.

    Without slices BatchNorm sees all four crops at once, and the weights become different.
    """
    assert not nearly_equal(alone, train_alone(CONFIG, tmp_path / "whole"))


def test_a_run_can_be_resumed_by_another_number_of_processes(script, alone, tmp_path):
    "Two processes do the first part, one that accumulates does the rest: the same crops, the same weights."
    run, half = tmp_path / "run", replace(CONFIG, srresnet=Stage(20), srgan=Stage(10, warmup=5))
    finish(launch(script, as_json(half), run))
    train_alone(replace(CONFIG, accumulate=2), run, resume=True)
    assert nearly_equal(alone, run)
    assert read_record(run)["processes"] == 1


def test_two_nodes(script, alone, tmp_path):
    "Two launchers meet at an address, as on two machines that share a disk."
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def node(rank):
        options = (
            "--nnodes", "2", "--node_rank", rank, "--nproc_per_node", "1",
            "--master_addr", "127.0.0.1", "--master_port", port,
        )
        return launch(script, as_json(CONFIG), tmp_path / "run", options=options)

    finish(node(0), node(1))
    assert nearly_equal(alone, tmp_path / "run")


def test_sigterm_stops_both_processes_at_the_same_step(script, tmp_path):
    run = tmp_path / "run"
    process = launch(script, as_json(replace(CONFIG, srresnet=Stage(100_000))), run)
    deadline = time.time() + 900
    while not read_metrics(run) and time.time() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=900)
    step = int(re.search(r"stopped after step (\d+)", out)[1])
    assert list_checkpoints(run)[0].stem.endswith(f"-{step}")
    assert step % CONFIG.log_every == 0


def test_synchronised_batchnorm_is_refused_without_cuda(script, tmp_path):
    process = launch(script, as_json(replace(CONFIG, sync_batchnorm=True)), tmp_path / "run")
    _, err = process.communicate(timeout=900)
    assert "synchronises BatchNorm on CUDA devices only" in err
    assert not (tmp_path / "run").exists()


# The command

CLI = ("-m", "srgan_nb.cli")


def test_upscale_shares_the_photos(srgan, photos, weights, tmp_path):
    "Two processes write the same files as one. If one of them fails at a photo, the whole command fails."
    def arguments(folder):
        return ("upscale", photos, "-o", tmp_path / folder, "--weights", weights, "--device", "cpu")

    def contents(folder):
        return {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}

    assert srgan(*arguments("one")).exit_code == 0
    finish(launch(*CLI, *arguments("two")))
    assert contents("two") == contents("one")
    assert len(contents("two")) == 3

    (photos / "fake.png").write_text("not a photo", encoding="utf-8")
    failing = launch(*CLI, *arguments("three"))
    _, err = failing.communicate(timeout=900)
    assert failing.returncode != 0
    assert err.count("fake.png: not a picture") == 1
    assert contents("three") == contents("one")


def test_evaluate_shares_the_photos(srgan, photos, weights, tmp_path):
    arguments = ("evaluate", photos, "--weights", weights, "--device", "cpu", "--json")
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    assert srgan(*arguments, one).exit_code == 0
    finish(launch(*CLI, *arguments, two))
    assert json.loads(two.read_text(encoding="utf-8")) == json.loads(one.read_text(encoding="utf-8"))


# Other launchers

def run_to_end(command):
    command = list(map(str, command))
    subprocess.run(command, check=True, capture_output=True, timeout=900, env=os.environ | ONE_THREAD)


@pytest.mark.parametrize("launcher", ["debug_launcher", "notebook_launcher"])
def test_accelerate_launches_a_function(alone, tmp_path, launcher):
    "As in a notebook's first cell: a fresh process gives a function to one of Accelerate's launchers."
    script, run = tmp_path / "function.py", tmp_path / "run"
    main = (
        "\nif __name__ == '__main__':\n"
        "    from accelerate import debug_launcher, notebook_launcher\n"
        f"    {launcher}(work, num_processes=2)\n"
    )
    script.write_text(TRAIN + main, encoding="utf-8")
    run_to_end([sys.executable, script, as_json(CONFIG), run])
    assert read_record(run)["processes"] == 2
    assert nearly_equal(alone, run)


def test_accelerate_launch(script, alone, tmp_path):
    run = tmp_path / "run"
    options = [
        "--cpu", "--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
    ]
    config = as_json(replace(CONFIG, accumulate=2))
    run_to_end([sys.executable, "-m", "accelerate.commands.launch", *options, script, config, run])
    assert same_tensors(alone, run)
