"A run that was stopped and resumed equals one that was not."
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from contextlib import nullcontext
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import GradientState
from PIL import Image

from srgan_nb import checkpoint, preflight, processes, run_folder, training
from srgan_nb.checkpoint import list_checkpoints, new_state, save_weights_only
from srgan_nb.config import Config, Stage
from srgan_nb.data import PhotoStore, make_pair, sample_photos
from srgan_nb.files import read_tensors
from srgan_nb.run_folder import is_finished, read_metrics, read_record
from srgan_nb.training import train

from conftest import CPU_FP32, SRGAN_COMMAND, metrics_without_times, same_tensors, tiny_config

CONFIG = tiny_config(srresnet=Stage(8), srgan=Stage(8), save_every=2)


def train_here(config, run, stage=None, **options):
    "Train on the sample photos in a way that gives the same bits each time."
    return train(config, sample_photos(), run, stage, **CPU_FP32, **options)


def resume_here(run, config=None, **options):
    return train(config, sample_photos(), run, resume=True, **CPU_FP32, **options)


def newest_tensors(run):
    return read_tensors(list_checkpoints(run)[0], "checkpoint")[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    "A run that was never stopped."
    return train_here(CONFIG, tmp_path_factory.mktemp("runs") / "whole")


# Resuming

@pytest.mark.parametrize("stage, newest", [("srresnet", 0), ("both", 0), ("both", 1)])
def test_resumed_run_equals_the_whole_one(whole, tmp_path, stage, newest):
    "Cut back to a checkpoint of either stage and resumed: the same bits, and each line of the metrics once."
    run = train_here(CONFIG, tmp_path / "run", stage)
    for path in list_checkpoints(run)[:newest]:
        path.unlink()
    resume_here(run, stage="both")
    assert same_tensors(whole, run)
    assert metrics_without_times(run) == metrics_without_times(whole)


def test_a_run_without_a_checkpoint_starts_as_it_did_the_first_time(whole, tmp_path):
    "train.json records the stage and the weights to start from."
    run = train_here(CONFIG, tmp_path / "run", "srgan", init=whole)
    again = tmp_path / "again"
    again.mkdir()
    shutil.copy(run / "train.json", again)
    resume_here(again)
    assert same_tensors(run, again)


def test_a_resumed_run_remembers_its_options(whole, tmp_path, caplog):
    "Stage, initial weights and precision stay, also when it is resumed twice, unless new ones are given."
    run = tmp_path / "run"

    def recorded():
        record = read_record(run)
        return {key: record[key] for key in ("stage", "init", "precision", "asked_precision")}

    def resume(steps, *stage, **options):
        config = replace(CONFIG, srgan=Stage(steps))
        train(config, sample_photos(), run, *stage, resume=True, **options)

    config = replace(CONFIG, srgan=Stage(2))
    train(config, sample_photos(), run, "srgan", init=whole, device="cpu", precision="bf16")
    before = recorded()
    assert before == dict(stage="srgan", init=str(whole), precision="bf16", asked_precision="bf16")
    for steps in (3, 4):
        resume(steps, device="cpu")
        assert recorded() == before
    resume(5, "both", **CPU_FP32)
    assert recorded() == dict(stage="both", init=str(whole), precision="fp32", asked_precision="fp32")
    assert "is not read" not in caplog.text
    resume_here(run, init="srresnet") # too late for other initial weights
    assert recorded()["init"] == str(whole)
    assert "init srresnet is not read" in caplog.text


def test_a_resumed_run_remembers_its_vgg(tmp_path, monkeypatch):
    vgg, given = tmp_path / "vgg.safetensors", []

    def keep_weights(config, stages, weights, accelerator):
        given.append(weights)

    monkeypatch.setattr(training, "load_vgg", keep_weights)
    run = train_here(CONFIG, tmp_path / "run", vgg=vgg)
    for _ in range(2):
        resume_here(run)
    assert list(map(str, given)) == 3 * [str(vgg)]


def test_a_broken_newest_checkpoint_falls_back_to_the_one_before(whole, tmp_path, caplog):
    run = train_here(CONFIG, tmp_path / "run")
    newest = list_checkpoints(run)[0]
    newest.write_bytes(newest.read_bytes()[:1000])
    resume_here(run)
    assert "trying the one before" in caplog.text
    assert same_tensors(whole, run)


def test_a_run_with_a_broken_last_checkpoint_is_not_finished(tmp_path, monkeypatch):
    run = train_here(CONFIG, tmp_path / "run")
    list_checkpoints(run)[0].write_bytes(b"")
    monkeypatch.setattr(training, "train_stages", lambda *_: None) # stopped before the first step
    resume_here(run)
    assert not is_finished(run)
    names = sorted(path.name for path in run.glob("checkpoint-srgan*"))
    assert names == ["checkpoint-srgan-6.safetensors", "checkpoint-srgan-8.broken"]


def test_a_run_whose_checkpoints_are_all_broken_does_not_start_over(tmp_path):
    run = train_here(CONFIG, tmp_path / "run")
    before = (run / "metrics.jsonl").read_bytes()
    for path in list_checkpoints(run):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="none of its checkpoints can be read"):
        resume_here(run)
    assert (run / "metrics.jsonl").read_bytes() == before


def test_a_folder_with_checkpoints_but_no_record_is_refused(whole, tmp_path):
    "A new run's checkpoints would count as older than those in the folder, and be removed."
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "train.json").unlink()
    with pytest.raises(ValueError, match="train.json is gone"):
        train_here(CONFIG, run)


def test_a_stop_during_the_last_step_still_finishes_the_run(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "srgan_nb")
    monkeypatch.setattr(training, "stop_request", lambda: nullcontext(lambda: True))
    one_step = replace(CONFIG, srresnet=Stage(1))
    with pytest.raises(KeyboardInterrupt):
        train_here(one_step, tmp_path / "run", "srresnet")
    assert is_finished(tmp_path / "run")
    assert "stopped" not in caplog.text
    with pytest.raises(KeyboardInterrupt):
        train_here(one_step, tmp_path / "both")
    assert not is_finished(tmp_path / "both")
    assert "stopped after step 1 of srresnet" in caplog.text


def test_another_loop_interrupted_in_mid_accumulation_does_no_harm(whole, tmp_path):
    GradientState()._set_sync_gradients(False) # as accelerator.accumulate leaves it in the middle of an accumulation
    run = train_here(CONFIG, tmp_path / "run")
    assert same_tensors(whole, run)


@pytest.mark.parametrize("name", ["save_generator", "_draw_samples"])
def test_a_run_that_fails_while_it_writes_its_results_can_be_completed(whole, tmp_path, monkeypatch, name):
    "The last checkpoint is there, but not what is made from it. `resume` makes it, without another step."
    write = getattr(run_folder, name)
    stage, config = ("both", CONFIG) if name == "save_generator" else ("srresnet", replace(CONFIG, save_every=8))

    def write_until_the_disk_is_full(*arguments, **about):
        if not about or about["stage"] == "srgan" and about["step"] == 8:
            raise OSError("no room")
        return write(*arguments, **about)

    monkeypatch.setattr(run_folder, name, write_until_the_disk_is_full)
    with pytest.raises(OSError, match="no room"):
        train_here(config, tmp_path / "run", stage)
    monkeypatch.setattr(run_folder, name, write)
    # left behind by a writer that was killed
    (tmp_path / "run/.checkpoint-srgan-8-0123abcd.part.safetensors").touch()
    run = resume_here(tmp_path / "run")
    assert is_finished(run)
    assert list((run / "samples").glob("*-0000008.png"))
    assert not list(run.glob(".checkpoint*"))
    if name == "save_generator":
        assert same_tensors(run, whole)
        assert metrics_without_times(run) == metrics_without_times(whole)


def test_a_run_killed_while_it_draws_a_sample_draws_it_when_resumed(tmp_path, monkeypatch):
    draw, saves = run_folder._draw_samples, []

    def interrupt(run, *rest):
        raise KeyboardInterrupt

    def keep_save(run, stage, step):
        saves.append((stage, step))

    monkeypatch.setattr(run_folder, "_draw_samples", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_here(CONFIG, tmp_path / "run")
    monkeypatch.setattr(run_folder, "_draw_samples", draw)
    run = resume_here(tmp_path / "run", on_save=keep_save)
    assert (run / "samples/srresnet-0000002.png").is_file()
    assert saves == [(stage, step) for stage in ("srresnet", "srgan") for step in (2, 4, 6, 8)]


def interrupt(number):
    "A function for `on_save` that sends a signal to this process."
    def send(run, stage, step):
        signal.raise_signal(number)
    return send


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_a_loop_of_runs(whole, tmp_path, name):
    "The step is saved first, so the run can go on."
    with pytest.raises(KeyboardInterrupt):
        for seed in range(3):
            train_here(CONFIG, tmp_path / str(seed), seed=seed, on_save=interrupt(getattr(signal, name)))
    run, = tmp_path.iterdir()
    assert list_checkpoints(run)[0].stem == "checkpoint-srresnet-3" # asked while the second step was being saved
    resume_here(run)
    assert same_tensors(whole, run)


def test_a_signal_is_passed_on_to_the_program_s_own_handler(tmp_path):
    got = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    try:
        with pytest.raises(KeyboardInterrupt):
            train_here(CONFIG, tmp_path / "run", on_save=interrupt(signal.SIGTERM))
        assert got == [signal.SIGTERM]
        signal.raise_signal(signal.SIGTERM)
        assert len(got) == 2
    finally:
        signal.signal(signal.SIGTERM, before)


def test_each_stage_s_last_generator_and_checkpoint_stay(whole, tmp_path):
    names = [path.stem for path in list_checkpoints(whole)]
    assert names == ["checkpoint-srgan-8", "checkpoint-srgan-6", "checkpoint-srresnet-8"]
    first = train_here(CONFIG, tmp_path / "first", "srresnet")
    assert same_tensors(whole / "generator-srresnet.safetensors", first / "generator.safetensors")
    assert not (first / "generator-srresnet.safetensors").exists()


def test_a_folder_that_holds_no_record_is_not_finished(whole, tmp_path):
    "As on a second machine whose disk isn't shared."
    assert not is_finished(tmp_path)
    shutil.copy(list_checkpoints(whole)[0], tmp_path)
    assert not is_finished(tmp_path)


# Weights to start from

def test_a_slim_checkpoint_starts_where_its_run_ended(whole, tmp_path):
    "It has G, its average and D, to the precision of float16. The other stage starts from the average alone."
    slim_file = tmp_path / "slim.any" # the name does not matter
    save_weights_only(whole, slim_file)
    slim = read_tensors(slim_file, "slim checkpoint")[1]
    checkpoint = newest_tensors(whole)
    assert {key.split(".")[0] for key in slim} == {"g", "ema", "d"}
    frozen = Stage(1, rate=1e-12) # one step that changes almost nothing

    same_stage = train_here(replace(CONFIG, srgan=frozen), tmp_path / "same", "srgan", init=slim_file)
    tensors = newest_tensors(same_stage)
    for key in slim:
        if key.endswith("weight"):
            assert torch.allclose(tensors[key], checkpoint[key], atol=2e-3), key

    other_stage = train_here(replace(CONFIG, srresnet=frozen), tmp_path / "other", "srresnet", init=slim_file)
    tensors = newest_tensors(other_stage)
    assert torch.allclose(tensors["g.tail.weight"], checkpoint["ema.tail.weight"], atol=1e-3)


def test_a_slim_checkpoint_can_be_in_a_folder(whole, tmp_path):
    (tmp_path / "slim").mkdir()
    save_weights_only(whole, tmp_path / "slim/generator.safetensors")
    train_here(replace(CONFIG, srgan=Stage(1)), tmp_path / "run", "srgan", init=tmp_path / "slim")


def test_a_slim_checkpoint_with_another_discriminator_is_refused(whole, tmp_path):
    slim_file = tmp_path / "slim.safetensors"
    save_weights_only(whole, slim_file)
    with pytest.raises(ValueError, match="discriminator of 4 channels"):
        train_here(replace(CONFIG, d_channels=8), tmp_path / "run", "srgan", init=slim_file)
    assert not (tmp_path / "run").exists()


def test_weights_of_another_size_are_refused(whole, tmp_path):
    with pytest.raises(ValueError, match="n_blocks"):
        train_here(replace(CONFIG, n_blocks=2), tmp_path / "run", init=whole)
    with pytest.raises(ValueError, match="'scale': 4}; .*'scale': 2}"):
        train_here(replace(CONFIG, scale=2), tmp_path / "run", init=whole)


def test_mistyped_weights_are_named_before_photos_are_decoded(tmp_path):
    with pytest.raises(ValueError, match="typo.safetensors: no such weights"):
        train(CONFIG, tmp_path / "no photos", tmp_path / "run", init="typo.safetensors", **CPU_FP32)


def test_vgg_that_cannot_be_downloaded_is_a_clear_error(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("invalid hash value") # as torch.hub does after half a download

    monkeypatch.setattr(preflight, "VGGFeatures", broken)
    with pytest.raises(ValueError, match="invalid hash value.*--vgg"):
        train_here(replace(CONFIG, content="vgg"), tmp_path / "run")


def test_fixed_batchnorm_keeps_the_statistics_of_the_generator(whole, tmp_path):
    def statistics(run):
        tensors = read_tensors(run / "generator.safetensors", "generator")[1]
        return {key: t for key, t in tensors.items() if "running" in key}

    fixed, free = (
        train_here(replace(CONFIG, fixed_batchnorm=fix), tmp_path / str(fix), "srgan", init=whole)
        for fix in (True, False)
    )
    before = statistics(whole)
    assert before
    assert all(torch.equal(before[key], t) for key, t in statistics(fixed).items())
    assert not any(torch.equal(before[key], t) for key, t in statistics(free).items())
    assert not same_tensors(fixed, whole) # its weights have changed


# Photos and settings

def test_a_run_folder_may_be_in_the_home_folder(tmp_path, monkeypatch):
    for name in ("HOME", "USERPROFILE"): monkeypatch.setenv(name, str(tmp_path))
    photos = {"a": Image.new("RGB", (64, 64))}
    config = tiny_config(srresnet=Stage(1), srgan=Stage())
    folder = train(config, photos, "~/run", **CPU_FP32)
    assert folder == tmp_path / "run" and is_finished("~/run") and list_checkpoints("~/run")
    assert len(read_metrics("~/run")) == 1


def test_training_uses_what_a_store_draws(whole, tmp_path):
    class StoreWithPairs(PhotoStore):
        brightness = 255

        def draw(self, *which):
            hr, _ = super().draw(*which)
            lr, _ = make_pair(hr)
            return hr, (self.brightness * lr).round().byte()

    class StoreWithDarkLR(StoreWithPairs):
        brightness = 100

    same = train(CONFIG, StoreWithPairs(sample_photos(), 32), tmp_path / "same", **CPU_FP32)
    dark = train(CONFIG, StoreWithDarkLR(sample_photos(), 32), tmp_path / "dark", **CPU_FP32)
    assert same_tensors(same, whole)
    assert not same_tensors(dark, whole)


class SlowStore(PhotoStore):
    "Notes which thread draws, and fails if two do at once."
    def __init__(self, *args):
        super().__init__(*args)
        self.threads, self.busy = [], False

    def draw(self, batch, seed, step, *share):
        assert not self.busy
        self.busy = True
        time.sleep(0.01)
        self.threads.append((step, threading.current_thread()))
        self.busy = False
        return super().draw(batch, seed, step, *share)


def test_crops_are_drawn_ahead_and_are_the_same(whole, tmp_path):
    store, here = SlowStore(sample_photos(), 32), threading.enumerate()
    run = train(CONFIG, store, tmp_path / "run", **CPU_FP32)
    assert same_tensors(run, whole)
    drawn = [step for step, thread in store.threads if thread not in here]
    assert drawn == [*range(8), *range(8)] # each once, and none beyond a stage's end
    assert threading.enumerate() == here


@pytest.mark.parametrize("error, advice", [(ZeroDivisionError, ""), (OSError, "go on with --resume")])
def test_what_a_store_raises_is_raised_when_its_step_comes(whole, tmp_path, error, advice):
    class Broken(PhotoStore):
        def draw(self, batch, seed, step, *share):
            if step == 5: raise error("of step 5")
            return super().draw(batch, seed, step, *share)

    here = threading.enumerate()
    with pytest.raises(error, match=f"of step 5.*{advice}"):
        train(replace(CONFIG, log_every=1), Broken(sample_photos(), 32), tmp_path / "run", **CPU_FP32)
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == [1, 2, 3, 4, 5]
    assert threading.enumerate() == here
    resume_here(tmp_path / "run")
    assert same_tensors(tmp_path / "run", whole)


def test_with_cuda_the_loop_draws(monkeypatch):
    "Another thread must not use the GPU while a step is recorded."
    monkeypatch.setattr(run_folder, "draw_pair", lambda run, step, *share: (step, share, threading.current_thread()))
    run = SimpleNamespace(accelerator=SimpleNamespace(device=torch.device("cuda")))
    this = threading.current_thread()
    assert list(run_folder.draw_pairs(run, range(2, 4), 0, 1)) == [(2, (0, 1), this), (3, (0, 1), this)]


@pytest.mark.parametrize("settings", [dict(beta1=1.), dict(ema=2.), dict(channels=0), dict(srresnet=Stage(-1))])
def test_impossible_settings_leave_no_folder(tmp_path, settings):
    with pytest.raises(ValueError):
        train_here(replace(CONFIG, **settings), tmp_path / "run")
    with pytest.raises(ValueError, match="seed"):
        train_here(CONFIG, tmp_path / "run", seed=2**64)
    assert not (tmp_path / "run").exists()


def test_settings_of_another_version_are_named():
    with pytest.raises(ValueError, match="another version.*made_up"):
        Config.from_dict(asdict(CONFIG) | dict(made_up=1))


def test_optimisers_start_with_the_learning_rate_of_the_stage():
    config = replace(CONFIG, srgan=Stage(1, rate=3e-4), d_rate=2.)
    state = new_state(config, "srgan", 0, torch.device("cpu"))
    assert (state.g_opt.param_groups[0]["lr"], state.d_opt.param_groups[0]["lr"]) == (3e-4, 6e-4)


def test_damaged_lines_of_metrics_are_left_out(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    with open(tmp_path / "run/metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 1}\n{"step": 2, "sta{"step": 3}\nnull\n')
    assert read_metrics(tmp_path / "run") == read_metrics(whole)


# Memory and signals

@pytest.mark.parametrize("module, name", [(training, "train_stages"), (checkpoint, "load_state_tensors")])
def test_too_little_memory_is_a_clear_error(whole, tmp_path, monkeypatch, module, name):
    "If it happens while a checkpoint is read, the checkpoint is not blamed."
    def run_out_of_memory(*_):
        raise torch.OutOfMemoryError()

    shutil.copytree(whole, tmp_path / "run")
    monkeypatch.setattr(module, name, run_out_of_memory)
    with pytest.raises(ValueError, match="--accumulate"):
        resume_here(tmp_path / "run")


def test_signal_handlers_that_python_cannot_restore_are_left_alone(monkeypatch):
    "Python returns None for a handler that was set in C, as embedding programs and profilers do."
    monkeypatch.setattr(processes.signal, "getsignal", lambda number: None)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with processes.stop_request() as stop_requested:
        assert not stop_requested()
    assert signal.signal(signal.SIGTERM, before) == signal.SIG_DFL


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_finishes_the_step_and_writes_a_checkpoint(photos, tmp_path, name):
    run, number = tmp_path / "run", getattr(signal, name)

    def reset_handler():
        "nohup ignores SIGHUP, and child processes inherit that."
        signal.signal(number, signal.SIG_DFL)

    options = ["--stage", "srresnet", "--steps", "100000", "--device", "cpu"]
    command = list(map(str, [*SRGAN_COMMAND, "train", "--data", photos, "--out", run, *options]))
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=reset_handler)
    deadline = time.time() + 900
    while not read_metrics(run) and time.time() < deadline:
        time.sleep(0.2)
    process.send_signal(number)
    out, err = process.communicate(timeout=900)
    assert process.returncode == -number and "Traceback" not in err, err
    assert "stopped after step" in out
    assert "--resume" in out
    assert "is ready" not in out
    step = int(list_checkpoints(run)[0].stem.split("-")[-1])
    assert 0 < step < 100000
    assert f"step {step}" in out
    record = json.loads((run / "train.json").read_text(encoding="utf-8"))
    assert record["config"]["srresnet"]["steps"] == 100000


# The demo

@pytest.mark.slow
def test_demo_upscales_and_trains(srgan, tmp_path, monkeypatch):
    monkeypatch.setattr("srgan_nb.config.TINY", replace(CONFIG, crop=48))
    # a second demo leaves the first one's run alone
    for run in ("toy-run-1", "toy-run-2"):
        result = srgan("demo", "--out", tmp_path)
        assert result.exit_code == 0 and "content loss" in result.output, result.output
        assert (tmp_path / run / "generator.safetensors").is_file()
    for name in ("comparison.png", "curve.png"):
        assert (tmp_path / name).stat().st_size > 10_000
