"Runs that are stopped go on as if nothing had happened."
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, replace

import pytest
import torch
from accelerate.state import GradientState

import srgan_nb.training as training
from conftest import HERE, same_tensors, timeless
from srgan_nb.data import PhotoStore, make_pair, sample_photos
from srgan_nb.generator import read_tensors
from srgan_nb.training import TINY, Config, Stage, checkpoints, is_finished, new_state, read_metrics, read_record, save_slim, train

CONFIG = replace(TINY, srresnet=Stage(8), srgan=Stage(8), n_blocks=1, channels=8, d_channels=4, crop=32, batch=4, save_every=2, log_every=1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory): return train(CONFIG, sample_photos(), tmp_path_factory.mktemp("runs") / "whole", **HERE)


@pytest.mark.parametrize("stage, newest", [("srresnet", 0), ("both", 0), ("both", 1)])
def test_resumed_run_equals_the_whole_one(whole, tmp_path, stage, newest):
    "Cut back to a checkpoint of either stage and resumed: the same bits, the same metrics, once each."
    run = train(CONFIG, sample_photos(), tmp_path / "run", stage=stage, **HERE)
    for path in checkpoints(run)[:newest]: path.unlink()
    train(None, sample_photos(), run, "both", resume=True, **HERE)
    assert same_tensors(whole, run)
    assert timeless(run) == timeless(whole)


def test_slim_checkpoint_starts_where_the_run_stood(whole, tmp_path):
    "G, its average and D, to the precision of float16; for the other stage the average alone."
    save_slim(whole, tmp_path / "slim.any") # the name does not matter
    slim, checkpoint = (read_tensors(path, kind)[1] for path, kind in ((tmp_path / "slim.any", "slim checkpoint"), (checkpoints(whole)[0], "checkpoint")))
    assert {key.split(".")[0] for key in slim} == {"g", "ema", "d"}
    more = train(replace(CONFIG, srgan=Stage(1, rate=1e-12)), sample_photos(), tmp_path / "more", stage="srgan", init=tmp_path / "slim.any", **HERE)
    went_on = read_tensors(checkpoints(more)[0], "checkpoint")[1]
    for key in (key for key in slim if key.endswith("weight")): assert torch.allclose(went_on[key], checkpoint[key], atol=2e-3), key
    before = train(replace(CONFIG, srresnet=Stage(1, rate=1e-12)), sample_photos(), tmp_path / "before", stage="srresnet", init=tmp_path / "slim.any", **HERE)
    assert torch.allclose(read_tensors(checkpoints(before)[0], "checkpoint")[1]["g.tail.weight"], checkpoint["ema.tail.weight"], atol=1e-3)


def test_weights_of_another_size_are_refused(whole, tmp_path):
    with pytest.raises(ValueError, match="n_blocks"): train(replace(CONFIG, n_blocks=2), sample_photos(), tmp_path / "run", init=whole, **HERE)
    with pytest.raises(ValueError, match="'scale': 4}; .*'scale': 2}"): train(replace(CONFIG, scale=2), sample_photos(), tmp_path / "run", init=whole, **HERE)


def test_mistaken_weights_are_named_before_photos_are_decoded(tmp_path):
    with pytest.raises(ValueError, match="typo.safetensors: no such weights"): train(CONFIG, tmp_path / "no photos", tmp_path / "run", init="typo.safetensors", **HERE)


def test_broken_newest_checkpoint_falls_back(whole, tmp_path, capsys):
    run = train(CONFIG, sample_photos(), tmp_path / "run", **HERE)
    checkpoints(run)[0].write_bytes(checkpoints(run)[0].read_bytes()[:1000])
    train(None, sample_photos(), run, resume=True, **HERE)
    assert "trying the one before" in capsys.readouterr().err
    assert same_tensors(whole, run)


def test_a_broken_checkpoint_does_not_count_as_reached(tmp_path, monkeypatch):
    run = train(CONFIG, sample_photos(), tmp_path / "run", **HERE)
    checkpoints(run)[0].write_bytes(b"")
    monkeypatch.setattr(training, "run_stages", lambda *_: None) # stopped before the first step
    train(None, sample_photos(), run, resume=True, **HERE)
    assert not is_finished(run) and sorted(path.name for path in run.glob("checkpoint*")) == ["checkpoint-srgan-6.safetensors", "checkpoint-srgan-8.broken"]


def test_checkpoints_without_a_record_are_no_new_run(whole, tmp_path):
    "A new run's checkpoints would be older than those, and be removed."
    run = tmp_path / "run"
    shutil.copytree(whole, run); (run / "train.json").unlink()
    with pytest.raises(ValueError, match="train.json is gone"): train(CONFIG, sample_photos(), run, **HERE)


def test_a_stop_during_the_last_step_is_no_stop(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "stop_request", lambda: nullcontext(lambda: True))
    once = replace(CONFIG, srresnet=Stage(1))
    run = train(once, sample_photos(), tmp_path / "run", "srresnet", **HERE)
    assert is_finished(run) and "stopped" not in capsys.readouterr().out
    run = train(once, sample_photos(), tmp_path / "both", **HERE)
    assert not is_finished(run) and "stopped after step 1 of srresnet" in capsys.readouterr().out


def test_a_loop_that_was_broken_off_does_not_keep_ours_from_learning(whole, tmp_path):
    GradientState()._set_sync_gradients(False) # as accelerator.accumulate leaves it in the middle
    run = train(CONFIG, sample_photos(), tmp_path / "run", **HERE)
    assert same_tensors(whole, run)


def test_a_run_whose_checkpoints_are_all_broken_is_not_begun_anew(tmp_path):
    run = train(CONFIG, sample_photos(), tmp_path / "run", **HERE)
    before = (run / "metrics.jsonl").read_bytes()
    for path in checkpoints(run): path.write_bytes(b"")
    with pytest.raises(ValueError, match="none of its checkpoints can be read"): train(None, sample_photos(), run, resume=True, **HERE)
    assert (run / "metrics.jsonl").read_bytes() == before


def test_a_run_without_a_checkpoint_begins_as_it_was_begun(whole, tmp_path):
    "The stage and the weights to start from stand in train.json."
    run = train(CONFIG, sample_photos(), tmp_path / "run", "srgan", init=whole, **HERE)
    again = tmp_path / "again"
    again.mkdir(); shutil.copy(run / "train.json", again)
    train(None, sample_photos(), again, resume=True, **HERE)
    assert same_tensors(run, again)


def test_a_resumed_run_remembers_what_it_was_asked_for(whole, tmp_path, capsys):
    "Stage, start and precision, unless they are given anew; and so a second time."
    asked = lambda: {key: read_record(run)[key] for key in ("stage", "init", "precision", "asked_precision")}
    capsys.readouterr()
    run = train(replace(CONFIG, srgan=Stage(2)), sample_photos(), tmp_path / "run", "srgan", init=whole, device="cpu", precision="bf16")
    before = asked()
    assert before == dict(stage="srgan", init=str(whole), precision="bf16", asked_precision="bf16")
    for steps in (3, 4):
        train(replace(CONFIG, srgan=Stage(steps)), sample_photos(), run, resume=True, device="cpu")
        assert asked() == before
    train(replace(CONFIG, srgan=Stage(5)), sample_photos(), run, "both", resume=True, **HERE)
    assert asked() == dict(stage="both", init=str(whole), precision="fp32", asked_precision="fp32")
    assert "is not read" not in capsys.readouterr().err
    train(None, sample_photos(), run, resume=True, init="srresnet", **HERE) # too late
    assert asked()["init"] == str(whole) and "init srresnet is not read" in capsys.readouterr().err


def test_a_resumed_run_remembers_its_vgg(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(training, "_vgg_for", lambda config, stages, weights, device: given.append(weights))
    run = train(CONFIG, sample_photos(), tmp_path / "run", vgg=tmp_path / "vgg.safetensors", **HERE)
    for _ in range(2): train(None, sample_photos(), run, resume=True, **HERE)
    assert list(map(str, given)) == 3 * [str(tmp_path / "vgg.safetensors")]


def test_vgg_that_cannot_be_had_is_a_sentence(tmp_path, monkeypatch):
    def broken(*_, **__): raise RuntimeError("invalid hash value") # what torch.hub says of half a download
    monkeypatch.setattr(training, "VGGFeatures", broken)
    with pytest.raises(ValueError, match="invalid hash value.*--vgg"): train(replace(CONFIG, content="vgg"), sample_photos(), tmp_path / "run", **HERE)


def test_fixed_batchnorm_keeps_the_statistics_of_the_generator(whole, tmp_path):
    statistics = lambda run: {key: t for key, t in read_tensors(run / "generator.safetensors", "generator")[1].items() if "running" in key}
    fixed, free = (train(replace(CONFIG, fixed_batchnorm=fix), sample_photos(), tmp_path / str(fix), "srgan", init=whole, **HERE) for fix in (True, False))
    before = statistics(whole)
    assert before and all(torch.equal(before[key], t) for key, t in statistics(fixed).items())
    assert not any(torch.equal(before[key], t) for key, t in statistics(free).items())
    assert not same_tensors(fixed, whole) # it learns all the same


def test_training_takes_what_a_store_draws(whole, tmp_path):
    class Given(PhotoStore):
        light = 255
        def draw(self, *which): return (hr := super().draw(*which)[0]), (self.light * make_pair(hr)[0]).round().byte()
    class Dark(Given): light = 100
    assert same_tensors(train(CONFIG, Given(sample_photos(), 32), tmp_path / "same", **HERE), whole)
    assert not same_tensors(train(CONFIG, Dark(sample_photos(), 32), tmp_path / "dark", **HERE), whole)


def test_a_slim_checkpoint_with_another_discriminator_is_refused(whole, tmp_path):
    save_slim(whole, tmp_path / "slim.safetensors")
    with pytest.raises(ValueError, match="discriminator of 4 channels"): train(replace(CONFIG, d_channels=8), sample_photos(), tmp_path / "run", "srgan", init=tmp_path / "slim.safetensors", **HERE)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["save_generator", "_draw_samples"])
def test_a_run_that_ends_while_it_writes_its_generator_is_made_whole(whole, tmp_path, monkeypatch, name):
    "The last checkpoint stands, what is made of it does not: --resume makes it, without a step."
    def full(*_, **about):
        if not about or about["stage"] == "srgan" and about["step"] == 8: raise OSError("no room")
        return saved(*_, **about)
    saved, config = getattr(training, name), replace(CONFIG, save_every=8) if name == "_draw_samples" else CONFIG
    monkeypatch.setattr(training, name, full)
    with pytest.raises(OSError, match="no room"): train(config, sample_photos(), tmp_path / "run", "both" if name == "save_generator" else "srresnet", **HERE)
    monkeypatch.setattr(training, name, saved)
    (tmp_path / "run/.checkpoint-srgan-8-0123abcd.part.safetensors").touch() # of a writer that was killed
    run = train(None, sample_photos(), tmp_path / "run", resume=True, **HERE)
    assert is_finished(run) and list((run / "samples").glob("*-0000008.png")) and not list(run.glob(".checkpoint*"))
    if name == "save_generator": assert same_tensors(run, whole) and timeless(run) == timeless(whole)


def test_a_run_killed_while_it_writes_a_sample_on_the_way_is_made_whole(tmp_path, monkeypatch):
    seen, draw = [], training._draw_samples
    def killed(run, *rest): raise KeyboardInterrupt
    monkeypatch.setattr(training, "_draw_samples", killed)
    with pytest.raises(KeyboardInterrupt): train(CONFIG, sample_photos(), tmp_path / "run", **HERE)
    monkeypatch.setattr(training, "_draw_samples", draw)
    run = train(None, sample_photos(), tmp_path / "run", resume=True, on_save=lambda run, *place: seen.append(place), **HERE)
    assert (run / "samples/srresnet-0000002.png").is_file()
    assert seen == [(stage, step) for stage in ("srresnet", "srgan") for step in (2, 4, 6, 8)]


def test_a_slim_checkpoint_may_stand_in_a_folder(whole, tmp_path):
    (tmp_path / "slim").mkdir()
    save_slim(whole, tmp_path / "slim/generator.safetensors")
    train(replace(CONFIG, srgan=Stage(1)), sample_photos(), tmp_path / "run", "srgan", init=tmp_path / "slim", **HERE)


@pytest.mark.parametrize("settings", [dict(beta1=1.), dict(ema=2.), dict(channels=0), dict(srresnet=Stage(-1))])
def test_impossible_settings_leave_no_folder(tmp_path, settings):
    with pytest.raises(ValueError): train(replace(CONFIG, **settings), sample_photos(), tmp_path / "run", **HERE)
    with pytest.raises(ValueError, match="seed"): train(CONFIG, sample_photos(), tmp_path / "run", seed=2**64, **HERE)
    assert not (tmp_path / "run").exists()


def test_damaged_lines_of_metrics_are_left_out(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    with open(tmp_path / "run/metrics.jsonl", "a", encoding="utf-8") as file: file.write('{"step": 1}\n{"step": 2, "sta{"step": 3}\nnull\n')
    assert read_metrics(tmp_path / "run") == read_metrics(whole)


def test_settings_of_another_version_are_named():
    with pytest.raises(ValueError, match="another version.*made_up"): Config.from_dict(asdict(CONFIG) | dict(made_up=1))


def test_optimisers_begin_at_the_rate_of_the_stage():
    state = new_state(replace(CONFIG, srgan=Stage(1, rate=3e-4), d_rate=2.), "srgan", 0, torch.device("cpu"))
    assert (state.g_opt.param_groups[0]["lr"], state.d_opt.param_groups[0]["lr"]) == (3e-4, 6e-4)


@pytest.mark.parametrize("name", ["run_stages", "load_state_tensors"])
def test_too_little_memory_is_a_sentence(whole, tmp_path, monkeypatch, name):
    "And not the fault of the checkpoint that was being read."
    shutil.copytree(whole, tmp_path / "run")
    monkeypatch.setattr(training, name, lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with pytest.raises(ValueError, match="--accumulate"): train(None, sample_photos(), tmp_path / "run", resume=True, **HERE)


def test_handlers_that_python_cannot_give_back_are_left_alone(monkeypatch):
    "One that was set in C is None here; embedding programs and profilers do that."
    monkeypatch.setattr(training.signal, "getsignal", lambda number: None)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with training.stop_request() as asked: assert not asked()
    assert signal.signal(signal.SIGTERM, before) == signal.SIG_DFL


def test_demo_upscales_and_trains(srgan, tmp_path, monkeypatch):
    monkeypatch.setattr("srgan_nb.training.TINY", replace(CONFIG, crop=48))
    for expected in ("toy-run-1", "toy-run-2"): # a second demo leaves the first one's run alone
        result = srgan("demo", "--out", tmp_path)
        assert result.exit_code == 0 and "content loss" in result.output, result.output
        assert (tmp_path / expected / "generator.safetensors").is_file()
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("comparison.png", "curve.png"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signal_finishes_the_step_and_writes_a_checkpoint(photos, tmp_path, name):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "srgan_nb.cli", "train", "--data", photos, "--out", run, "--stage", "srresnet", "--steps", "100000", "--device", "cpu"]
    heard = lambda: signal.signal(getattr(signal, name), signal.SIG_DFL) # under nohup SIGHUP is ignored, and stays so in children
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    deadline = time.time() + 900
    while not read_metrics(run) and time.time() < deadline: time.sleep(0.2)
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=900)
    assert process.returncode == 1 and "Traceback" not in err, err
    assert "stopped after step" in out and "--resume" in out and "is ready" not in out
    step = int(checkpoints(run)[0].stem.split("-")[-1])
    assert 0 < step < 100000 and f"step {step}" in out
    assert json.loads((run / "train.json").read_text(encoding="utf-8"))["config"]["srresnet"]["steps"] == 100000
