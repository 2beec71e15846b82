"What only a GPU can show; skipped without one."
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from srgan_nb import Upscaler, training
from srgan_nb.data import PhotoStore, crop_batch, lay_on_device, sample_photos
from srgan_nb.generator import read_tensors
from srgan_nb.training import TINY, Run, Stage, checkpoints, make_accelerator, make_step, new_state, read_record, run_step, set_rates, state_tensors, train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

CONFIG = replace(TINY, srresnet=Stage(12), srgan=Stage(16), n_blocks=1, channels=8, d_channels=4, crop=32, batch=4, d_warmup=6, save_every=8, log_every=1)


@pytest.fixture
def exact(monkeypatch):
    "Float32 in full, sums in one order: so that two runs can be compared."
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False); monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


def apart(run, other) -> float:
    "The largest relative distance of two runs' networks."
    ours, theirs = (read_tensors(checkpoints(folder)[0], "checkpoint")[1] for folder in (run, other))
    return max(((t - theirs[key]).norm() / theirs[key].norm().clamp(min=1e-6)).item() for key, t in ours.items() if key.split(".")[0] in ("g", "d", "ema") and t.is_floating_point())


def test_a_step_played_back_learns_what_one_called_does(tmp_path, monkeypatch, exact):
    "Through both stages, through D's head start, at a rate that changes with every step."
    config = replace(CONFIG, srresnet=Stage(12, schedule="cosine", warmup=4))
    played = train(config, sample_photos(), tmp_path / "played", device="cuda", precision="fp32")
    monkeypatch.setattr(training, "Replayed", lambda step: step)
    called = train(config, sample_photos(), tmp_path / "called", device="cuda", precision="fp32")
    assert apart(played, called) < 1e-3


def test_a_run_goes_on_where_it_stood(tmp_path, exact):
    whole, run = (train(CONFIG, sample_photos(), tmp_path / name, device="cuda", precision="fp32") for name in ("whole", "run"))
    checkpoints(run)[0].unlink()
    train(None, sample_photos(), run, resume=True, device="cuda")
    assert apart(run, whole) < 1e-3


def test_crops_cut_on_the_device_are_the_same():
    here, there = (PhotoStore(sample_photos(), 96) for _ in range(2))
    assert lay_on_device(there, "cuda")
    for step in range(8): assert torch.equal(crop_batch(there, 8, 1, step).cpu(), crop_batch(here, 8, 1, step))


@pytest.mark.parametrize("stage", ["srresnet", "srgan"])
def test_an_unusable_step_played_back_changes_nothing(stage):
    config = replace(CONFIG, d_warmup=0)
    run = Run(config, Path("nowhere"), PhotoStore(sample_photos(), CONFIG.crop), 0, make_accelerator("cuda", "fp32"))
    state = new_state(config, stage, 0, torch.device("cuda"))
    step = make_step(run, state)
    set_rates(state, 1e-4, 1e-4)
    for _ in range(6): assert run_step(run, state, step)["usable"]
    snapshot = lambda: {key: t.clone() for key, t in state_tensors(state).items() if not key.startswith("ema.") and "num_batches" not in key}
    before, (lr, hr) = snapshot(), training.draw_pair(run, 7)
    assert not step(lr * float("nan"), hr)["usable"]
    assert all(torch.equal(t, before[key]) for key, t in snapshot().items())
    assert step(lr, hr)["usable"] and not torch.equal(snapshot()["g.tail.weight"], before["g.tail.weight"])


def test_automatic_means_cuda_and_bf16(tmp_path):
    run = train(replace(CONFIG, srgan=Stage()), sample_photos(), tmp_path / "run")
    record = read_record(run)
    assert record["device"].startswith("cuda")
    assert record["precision"] == ("bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp32")


@pytest.mark.parametrize("name, back_project", [("srresnet", False), ("srgan", False), ("srgan", True)])
def test_upscaling_gives_the_picture_the_cpu_gives(name, back_project):
    "In float32 to a level here and there; in bfloat16 nobody would see it."
    photo = sample_photos()["coffee"].resize((203, 151))
    picture = lambda **options: np.asarray(Upscaler.from_pretrained(name, back_project=back_project, **options)(photo)).astype(int)
    cpu, fp32, auto = picture(device="cpu", precision="fp32"), picture(device="cuda", precision="fp32"), picture()
    assert abs(fp32 - cpu).max() <= 3 and abs(fp32 - cpu).mean() < 0.1
    assert abs(auto - cpu).mean() < 1
