"""Several processes on one machine, by PyTorch's own launcher and its CPU backend (gloo): the same run, the same files, as one."""
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
import torch

from conftest import HERE, same_tensors, timeless
from srgan_nb.data import sample_photos
from srgan_nb.generator import read_tensors
from srgan_nb.training import Stage, TINY, checkpoints, read_metrics, read_record, train

CONFIG = replace(TINY, srresnet=Stage(20), srgan=Stage(20, warmup=5), n_blocks=1, channels=8, d_channels=4, crop=32, batch=4, d_warmup=2, save_every=10, log_every=5)
TRAIN = """
import json, sys, torch
from srgan_nb.data import sample_photos
from srgan_nb.training import Config, read_record, train
torch.set_num_threads(1)
train(Config.from_dict(json.loads(sys.argv[1])), sample_photos(), sys.argv[2], resume=read_record(sys.argv[2]) is not None, device="cpu", precision="fp32")
"""


def launch(*program, options=("--standalone", "--nproc_per_node", "2"), **popen):
    "Start `program` in two processes."
    command = [sys.executable, "-m", "torch.distributed.run", *options, *program]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | dict(OMP_NUM_THREADS="1", ACCELERATE_USE_CPU="true"), **popen)


def finish(*processes):
    for process in processes:
        out, err = process.communicate(timeout=900)
        assert process.returncode == 0, out[-1000:] + err[-3000:]
    return out


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(TRAIN, encoding="utf-8")
    return path


def as_json(config): return json.dumps(asdict(config))


def parameters(run):
    "What is learned, of G, its average and D; BatchNorm's running statistics are those of one process."
    tensors = read_tensors(checkpoints(run)[0], "checkpoint")[1]
    return {key: t for key, t in tensors.items() if key.split(".")[0] in ("g", "ema", "d") and "running" not in key and "num_batches" not in key}


def close(a, b, tolerance=1e-5):
    a, b = parameters(a), parameters(b)
    return a.keys() == b.keys() and max((a[key] - b[key]).abs().max().item() for key in a) < tolerance


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    "One process that accumulates the two slices."
    return train(replace(CONFIG, accumulate=2), sample_photos(), tmp_path_factory.mktemp("runs") / "alone", **HERE)


@pytest.mark.parametrize("joint", [False, True])
def test_two_processes_learn_what_one_does_that_accumulates(script, tmp_path, joint):
    one = train(replace(CONFIG, accumulate=2, joint=joint), sample_photos(), tmp_path / "one", **HERE)
    finish(launch(script, as_json(replace(CONFIG, joint=joint)), tmp_path / "two"))
    assert read_record(tmp_path / "two")["processes"] == 2
    assert close(one, tmp_path / "two")
    ours, theirs = timeless(one), timeless(tmp_path / "two")
    assert [line["step"] for line in theirs] == [line["step"] for line in ours] # written once
    assert all(b[key] == pytest.approx(a[key], rel=1e-4) for a, b in zip(ours, theirs) for key in ("g_loss", "d_loss") if a.get(key))


def test_slices_differ_from_the_whole_batch_by_batchnorm_only(alone, tmp_path):
    "A test that the one above could fail: without slices BatchNorm sees four crops, and the weights are others."
    assert not close(alone, train(CONFIG, sample_photos(), tmp_path / "whole", **HERE))


def test_resumed_by_another_number_of_processes(script, alone, tmp_path):
    "Ten steps by two, the rest by one that accumulates: the same crops, the same weights."
    run, half = tmp_path / "run", replace(CONFIG, srresnet=Stage(20), srgan=Stage(10, warmup=5))
    finish(launch(script, as_json(half), run))
    train(replace(CONFIG, accumulate=2), sample_photos(), run, resume=True, **HERE)
    assert close(alone, run) and read_record(run)["processes"] == 1


def test_two_nodes(script, alone, tmp_path):
    "Two launchers that meet at an address, as on two machines with one disk."
    with socket.socket() as free: free.bind(("127.0.0.1", 0)); port = free.getsockname()[1]
    node = lambda rank: launch(script, as_json(CONFIG), tmp_path / "run", options=("--nnodes", "2", "--node_rank", rank, "--nproc_per_node", "1", "--master_addr", "127.0.0.1", "--master_port", port))
    finish(node(0), node(1))
    assert close(alone, tmp_path / "run")


def test_sigterm_stops_both_at_the_same_step(script, tmp_path):
    run = tmp_path / "run"
    process = launch(script, as_json(replace(CONFIG, srresnet=Stage(100_000))), run)
    deadline = time.time() + 900
    while not read_metrics(run) and time.time() < deadline: time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=900)
    step = int(re.search(r"stopped after step (\d+)", out)[1])
    assert checkpoints(run)[0].stem.endswith(f"-{step}") and step % CONFIG.log_every == 0


def test_synchronised_batchnorm_is_refused_without_cuda(script, tmp_path):
    out, err = launch(script, as_json(replace(CONFIG, sync_batchnorm=True)), tmp_path / "run").communicate(timeout=900)
    assert "synchronises BatchNorm on CUDA devices only" in err and not (tmp_path / "run").exists()


CLI = "-m", "srgan_nb.cli"


def test_upscale_shares_the_photos(srgan, photos, weights, tmp_path):
    "Three photos and one that is none: the same files as by one process, and a failure of one is the failure of all."
    assert srgan("upscale", photos, "-o", tmp_path / "one", "--weights", weights, "--device", "cpu").exit_code == 0
    finish(launch(*CLI, "upscale", photos, "-o", tmp_path / "two", "--weights", weights, "--device", "cpu"))
    contents = lambda folder: {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}
    assert contents("two") == contents("one") and len(contents("two")) == 3
    (photos / "fake.png").write_text("not a photo", encoding="utf-8")
    failing = launch(*CLI, "upscale", photos, "-o", tmp_path / "three", "--weights", weights, "--device", "cpu")
    _, err = failing.communicate(timeout=900)
    assert failing.returncode != 0 and err.count("fake.png: not a picture") == 1 and contents("three") == contents("one")


def test_evaluate_shares_the_photos(srgan, photos, weights, tmp_path):
    for n, run in dict(one=lambda *a: srgan(*a), two=lambda *a: finish(launch(*CLI, *a))).items():
        run("evaluate", photos, "--weights", weights, "--device", "cpu", "--json", tmp_path / f"{n}.json")
    assert json.loads((tmp_path / "two.json").read_text(encoding="utf-8")) == json.loads((tmp_path / "one.json").read_text(encoding="utf-8"))


def by_function(launcher, config, run, tmp_path):
    "As from a notebook's first cell: a fresh process, a function, a launcher of Accelerate."
    path = tmp_path / "function.py"
    path.write_text(TRAIN.replace("train(Config", "def work(): train(Config") + f"\nif __name__ == '__main__':\n    from accelerate import debug_launcher, notebook_launcher\n    {launcher}\n", encoding="utf-8")
    subprocess.run([sys.executable, path, as_json(config), str(run)], check=True, capture_output=True, timeout=900, env=os.environ | dict(OMP_NUM_THREADS="1"))


@pytest.mark.parametrize("launcher", ["debug_launcher", "notebook_launcher"])
def test_launched_from_a_function(alone, tmp_path, launcher):
    by_function(f"{launcher}(work, num_processes=2)", CONFIG, tmp_path / "run", tmp_path)
    assert read_record(tmp_path / "run")["processes"] == 2 and close(alone, tmp_path / "run")


def test_accelerate_launch(script, alone, tmp_path):
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", script, as_json(replace(CONFIG, accumulate=2)), tmp_path / "run"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True, timeout=900, env=os.environ | dict(OMP_NUM_THREADS="1"))
    assert same_tensors(alone, tmp_path / "run")
