"What only a GPU can show. Without a CUDA device these tests are skipped."
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from srgan_nb import Upscaler, training
from srgan_nb.checkpoint import list_checkpoints, new_state
from srgan_nb.config import Stage
from srgan_nb.data import PhotoStore, crop_batch, sample_photos
from srgan_nb.devices import make_accelerator
from srgan_nb.files import read_tensors
from srgan_nb.photo_cache import move_to_device
from srgan_nb.run_folder import Run, draw_pair, read_record
from srgan_nb.training import make_step, set_rates, train

from conftest import CPU_FP32, snapshot, tiny_config

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

CONFIG = tiny_config(srresnet=Stage(12), srgan=Stage(16), d_warmup=6, save_every=8)
CUDA_FP32 = dict(device="cuda", precision="fp32")


@pytest.fixture
def exact(monkeypatch):
    "Full float32, and sums in a fixed order, so that two runs can be compared."
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


def largest_difference(run, other) -> float:
    "The largest relative difference between a tensor of one run's networks and the same tensor of the other's."
    ours, theirs = (read_tensors(list_checkpoints(folder)[0], "checkpoint")[1] for folder in (run, other))
    differences = []
    for key, t in ours.items():
        if key.split(".")[0] in ("g", "d", "ema") and t.is_floating_point():
            difference = (t - theirs[key]).norm() / theirs[key].norm().clamp(min=1e-6)
            differences.append(difference.item())
    return max(differences)


def test_a_step_in_a_cuda_graph_learns_the_same(tmp_path, monkeypatch, exact):
    "Through both stages and D's warm-up, with a learning rate that changes at every step."
    config = replace(CONFIG, srresnet=Stage(12, schedule="cosine", warmup=4))
    replayed = train(config, sample_photos(), tmp_path / "replayed", **CUDA_FP32)
    monkeypatch.setattr(training, "CudaGraphStep", lambda step: step)
    called = train(config, sample_photos(), tmp_path / "called", **CUDA_FP32)
    assert largest_difference(replayed, called) < 1e-3


def test_a_resumed_run_equals_the_whole_one(tmp_path, exact):
    whole, run = (train(CONFIG, sample_photos(), tmp_path / name, **CUDA_FP32) for name in ("whole", "run"))
    list_checkpoints(run)[0].unlink()
    train(None, sample_photos(), run, resume=True, device="cuda")
    assert largest_difference(run, whole) < 1e-3


def test_crops_cut_on_the_device_are_the_same():
    on_cpu, on_gpu = (PhotoStore(sample_photos(), 96) for _ in range(2))
    assert move_to_device(on_gpu, "cuda")
    for step in range(8):
        assert torch.equal(crop_batch(on_gpu, 8, 1, step).cpu(), crop_batch(on_cpu, 8, 1, step))


@pytest.mark.parametrize("stage", ["srresnet", "srgan"])
def test_an_unusable_step_in_a_cuda_graph_changes_nothing(stage):
    config = replace(CONFIG, d_warmup=0)
    store = PhotoStore(sample_photos(), CONFIG.crop)
    run = Run(config, Path("nowhere"), store, 0, make_accelerator(**CUDA_FP32))
    state = new_state(config, stage, 0, torch.device("cuda"))
    step = make_step(run, state)[1]
    set_rates(state, 1e-4, 1e-4)
    for _ in range(6):
        assert step(*draw_pair(run, state.step))["finite"]
        state.step += 1
    before = snapshot(state)
    lr, hr = draw_pair(run, 7)
    assert not step(lr * float("nan"), hr)["finite"]
    assert all(torch.equal(t, before[key]) for key, t in snapshot(state).items())
    assert step(lr, hr)["finite"]
    assert not torch.equal(snapshot(state)["g.tail.weight"], before["g.tail.weight"])


def test_automatic_settings_use_cuda_and_bf16(tmp_path):
    run = train(replace(CONFIG, srgan=Stage()), sample_photos(), tmp_path / "run")
    record = read_record(run)
    assert record["device"].startswith("cuda")
    assert record["precision"] == ("bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp32")


@pytest.mark.parametrize("name, back_project", [("srresnet", False), ("srgan", False), ("srgan", True)])
def test_gpu_and_cpu_give_the_same_picture(name, back_project):
    "In float32 a few pixels differ by a few levels. In bfloat16 the difference is too small to see."
    photo = sample_photos()["coffee"].resize((203, 151))

    def upscale(**options):
        upscaler = Upscaler.from_pretrained(name, back_project=back_project, **options)
        return np.asarray(upscaler(photo)).astype(int)

    cpu, fp32, automatic = upscale(**CPU_FP32), upscale(**CUDA_FP32), upscale()
    assert abs(fp32 - cpu).max() <= 3
    assert abs(fp32 - cpu).mean() < 0.1
    assert abs(automatic - cpu).mean() < 1
