"""The command, as people who live on a command line expect it."""
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from srgan_nb import __version__, metrics

SRGAN = [sys.executable, "-m", "srgan_nb.cli"]
COMMANDS = ["upscale", "train", "evaluate", "plot", "compare", "export", "demo"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_examples_of_that_command(srgan, command):
    "And their options are options it has."
    text = srgan(command, "--help").stdout
    before, after = text.split("Examples:")
    assert f"srgan {command}" in after or f"srgan_nb.cli {command}" in after
    assert set(re.findall(r"(?<=\s)--[a-z][a-z-]+", after)) - {"--nproc"} <= set(re.findall(r"--[a-z-]+", before)) | {"--nproc_per_node"}


def test_help_says_what_exit_codes_mean(srgan):
    text = " ".join(srgan("--help").stdout.split())
    assert "0 all was done; 1 something could not be done, and stderr says what; 2 wrong usage" in text
    assert all(command in text for command in COMMANDS)
    assert srgan("--version").stdout.strip() == f"srgan_nb {__version__}"


@pytest.mark.parametrize("shell, variables", [("bash", dict(COMP_WORDS="srgan comp", COMP_CWORD="1")), ("zsh", dict(_TYPER_COMPLETE_ARGS="srgan comp")), ("fish", dict(_TYPER_COMPLETE_ARGS="srgan comp", _TYPER_COMPLETE_FISH_ACTION="get-args"))])
def test_shells_complete_commands(shell, variables):
    done = subprocess.run([Path(sys.executable).parent / "srgan"], capture_output=True, text=True, env=os.environ | dict(_SRGAN_COMPLETE=f"complete_{shell}") | variables)
    assert "compare" in done.stdout and "export" not in done.stdout, done.stderr


def test_quiet_says_only_what_went_wrong(srgan, photos, weights, tmp_path):
    (photos / "fake.png").write_text("not a photo", encoding="utf-8")
    result = srgan("upscale", photos, "-o", tmp_path / "out", "--weights", weights, "--quiet")
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    result = srgan("train", "--data", photos, "--out", tmp_path / "run", "--steps", 1, "--device", "cpu", "-q")
    assert (result.exit_code, result.stdout) == (0, "") and result.stderr.startswith("skipped fake.png: ") and len(result.stderr.splitlines()) == 1


def test_pipes_carry_pictures(photos, weights, tmp_path):
    "From a shell, with nothing but the picture on stdout."
    with open(photos / "coffee.png", "rb") as small: done = subprocess.run([*SRGAN, "upscale", "-", "-o", "-", "--weights", str(weights)], stdin=small, capture_output=True)
    (tmp_path / "large.png").write_bytes(done.stdout)
    assert (done.returncode, done.stderr) == (0, b"") and Image.open(tmp_path / "large.png").size == (480, 400)
    broken = subprocess.run([*SRGAN, "upscale", "-", "-o", "-", "--weights", str(weights)], input=b"no picture", capture_output=True)
    assert broken.returncode == 1 and broken.stdout == b"" and broken.stderr.startswith(b"srgan: stdin: not a picture")


@pytest.mark.skipif(os.name != "posix", reason="no SIGTERM to catch")
def test_a_killed_enlargement_leaves_nothing(tmp_path):
    "Not even the pixels that were to become a PNG."
    Image.effect_noise((600, 600), 50).convert("RGB").save(tmp_path / "small.png")
    with subprocess.Popen([*SRGAN, "upscale", tmp_path / "small.png", "-o", tmp_path / "out" / "large.png"], stderr=subprocess.PIPE) as command:
        while command.poll() is None and not list(tmp_path.glob("out/*")): time.sleep(0.05)
        command.terminate()
    assert command.returncode not in (0, -signal.SIGTERM) and list(tmp_path.glob("out/*")) == []


def test_patterns_and_folders_by_pattern(srgan, photos, weights, tmp_path):
    (tmp_path / "photos-2").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos-2/dot.png")
    srgan("upscale", tmp_path / "photos*", "-o", tmp_path / "all", "--weights", weights)
    assert {path.name for path in (tmp_path / "all").iterdir()} == {path.name for path in photos.iterdir()} | {"dot.png"}
    result = srgan("upscale", tmp_path / "*.jpg", "-o", tmp_path / "none/", "--weights", weights)
    assert result.exit_code == 1 and "nothing matches" in result.stderr
    srgan("upscale", tmp_path / "photos-*", "-o", tmp_path / "one", "--weights", weights) # one folder, holding one photo
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["dot.png"]


def test_json_on_stdout_is_nothing_but_json(srgan, photos, weights):
    report = json.loads(srgan("evaluate", photos, "--weights", weights, "--json", "-").stdout)
    assert report["n"] == len(report["images"]) == 3


def test_equal_pictures_have_no_decibels_in_json(srgan, tmp_path):
    (tmp_path / "flat").mkdir(); Image.new("RGB", (32, 32), "grey").save(tmp_path / "flat/grey.png")
    assert srgan("evaluate", tmp_path / "flat", "--weights", "bicubic", "--json", tmp_path / "new/figures.json").exit_code == 0
    assert json.loads((tmp_path / "new/figures.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)["mean"]["psnr_y"] is None


def test_targets_that_cannot_be_are_named_before_the_work(srgan, photos, weights, tmp_path):
    (tmp_path / "file.png").write_text("", encoding="utf-8")
    for arguments, sentence in {("upscale", photos, "-o", tmp_path / "file.png"): "need a folder", ("evaluate", photos, "--json", tmp_path): "name a file", ("export", "-o", tmp_path / "x.txt"): "NAME.onnx"}.items():
        result = srgan(*arguments, "--weights", weights)
        assert result.exit_code == 1 and sentence in result.stderr
    result = srgan("compare", weights, "--photo", photos / "coffee.png", "--box", 0, 0, 1, 0.001, "-o", tmp_path / "new/compare.png")
    assert result.exit_code == 1 and "larger part" in result.stderr


@pytest.mark.parametrize("scale", [2, 8])
def test_other_scales_train_and_enlarge(srgan, photos, tmp_path, scale):
    run = tmp_path / "run"
    assert srgan("train", "--data", photos, "--out", run, "--scale", scale, "--steps", 2, "--device", "cpu").exit_code == 0
    assert srgan("upscale", photos / "coffee.png", "-o", tmp_path / "large.png", "--weights", run, "--scale", scale).exit_code == 0
    assert Image.open(tmp_path / "large.png").size == (120 * scale, 100 * scale)
    assert srgan("evaluate", photos, "--weights", run).exit_code == 0
    other = srgan("upscale", photos / "coffee.png", "-o", tmp_path / "other.png", "--weights", run, "--scale", 4)
    assert other.exit_code == 1 and f"enlarges {scale} times, not 4" in other.stderr
    again = srgan("train", "--data", photos, "--out", run, "--resume", "--scale", 4, "--steps", 4, "--device", "cpu")
    assert again.exit_code == 1 and f"'scale': {scale}" in again.stderr


def test_a_scale_no_network_has(srgan, photos, tmp_path):
    result = srgan("train", "--data", photos, "--out", tmp_path / "run", "--scale", 3, "--steps", 1)
    assert result.exit_code == 1 and "2, 4 or 8" in result.stderr and not (tmp_path / "run").exists()


def test_lr_of_ones_own(srgan, photos, tmp_path):
    "Trained on pairs; resuming without them is refused."
    (tmp_path / "lr").mkdir()
    for path in photos.iterdir(): Image.open(path).resize((30, 25)).save(tmp_path / "lr" / f"{path.stem}x4.png")
    train = lambda *more: srgan("train", "--data", photos, "--out", tmp_path / "run", "--stage", "srresnet", "--device", "cpu", *more)
    assert train("--lr-dir", tmp_path / "lr", "--steps", 2).exit_code == 0
    assert train("--lr-dir", tmp_path / "lr", "--steps", 4, "--resume").exit_code == 0
    without = train("--steps", 6, "--resume")
    assert without.exit_code == 1 and "LR versions" in without.stderr


def test_networks_of_one_name_are_all_drawn(srgan, photos, weights, tmp_path, monkeypatch):
    seen, draw = [], metrics.show_comparison
    def noted(lr, hr, results, *rest, **options): seen.extend(results); return draw(lr, hr, results, *rest, **options)
    monkeypatch.setattr(metrics, "show_comparison", noted)
    names = [tmp_path / folder / "same.safetensors" for folder in "ab"]
    for name in names: name.parent.mkdir(); name.write_bytes(weights.read_bytes())
    assert srgan("compare", *names, "--photo", photos / "coffee.png", "--box", 0, 0, 1, 1, "-o", tmp_path / "compare.png").exit_code == 0
    assert seen == list(map(str, names))
    empty = srgan("compare", names[0], "--photo", photos / "coffee.png", "--box", 0.5, 0, 0.501, 1, "-o", tmp_path / "empty.png")
    assert empty.exit_code == 1 and "no pixel of LR" in empty.stderr


@pytest.mark.parametrize("side", [3, 12])
def test_a_picture_too_small_to_score_is_named(srgan, photos, weights, side):
    Image.new("RGB", (side, side)).save(photos / "tiny.png")
    result = srgan("evaluate", photos, "--weights", weights)
    assert result.exit_code == 1 and f"{photos / 'tiny.png'}: " in result.stderr
