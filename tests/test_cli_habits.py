"The command does what people who work in a terminal expect: help, exit codes, quiet mode, pipes, patterns, JSON."
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from srgan_nb import __version__, metrics, processes
from srgan_nb.weights import load_generator

from conftest import SRGAN_COMMAND

COMMANDS = ["upscale", "train", "evaluate", "plot", "compare", "export", "demo"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_examples_of_that_command(srgan, command, monkeypatch):
    "The examples use only options that the command has."
    monkeypatch.setenv("COLUMNS", "120") # a narrow terminal breaks long names of options
    text = srgan(command, "--help").stdout
    before, examples = text.split("Examples:")
    assert f"srgan {command}" in examples or f"srgan_nb.cli {command}" in examples
    known = set(re.findall(r"--[a-z-]+", before)) | {"--nproc_per_node"} # the last is torchrun's
    used = set(re.findall(r"(?<=\s)--[a-z][a-z-]+", examples)) - {"--nproc"}
    assert used <= known


def test_help_explains_the_exit_codes_and_version_prints_the_version(srgan):
    text = " ".join(srgan("--help").stdout.split())
    assert "0 all was done; 1 something could not be done, and stderr says what; 2 wrong usage" in text
    assert all(command in text for command in COMMANDS)
    assert srgan("--version").stdout.strip() == f"srgan_nb {__version__}"


@pytest.mark.slow
@pytest.mark.parametrize("shell, variables", [
    ("bash", dict(COMP_WORDS="srgan comp", COMP_CWORD="1")),
    ("zsh", dict(_TYPER_COMPLETE_ARGS="srgan comp")),
    ("fish", dict(_TYPER_COMPLETE_ARGS="srgan comp", _TYPER_COMPLETE_FISH_ACTION="get-args")),
])
def test_shells_complete_commands(shell, variables):
    command = Path(sys.executable).parent / "srgan"
    environment = os.environ | dict(_SRGAN_COMPLETE=f"complete_{shell}") | variables
    done = subprocess.run([command], capture_output=True, text=True, env=environment)
    assert "compare" in done.stdout and "export" not in done.stdout, done.stderr


def test_quiet_prints_only_what_went_wrong(srgan, photos, weights, tmp_path):
    (photos / "fake.png").write_text("not a photo", encoding="utf-8")
    result = srgan("upscale", photos, "-o", tmp_path / "out", "--weights", weights, "--quiet")
    assert (result.exit_code, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1
    result = srgan("train", "--data", photos, "--out", tmp_path / "run", "--steps", 1, "--device", "cpu", "-q")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("skipped fake.png: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.slow
def test_pipes_carry_pictures(photos, weights, tmp_path):
    "From a shell, stdout carries the picture and nothing else."
    command = [*SRGAN_COMMAND, "upscale", "-", "-o", "-", "--weights", str(weights)]
    with open(photos / "coffee.png", "rb") as small:
        done = subprocess.run(command, stdin=small, capture_output=True)
    (tmp_path / "large.png").write_bytes(done.stdout)
    assert (done.returncode, done.stderr) == (0, b"")
    assert Image.open(tmp_path / "large.png").size == (480, 400)
    failed = subprocess.run(command, input=b"no picture", capture_output=True)
    assert (failed.returncode, failed.stdout) == (1, b"")
    assert failed.stderr.startswith(b"srgan: stdin: not a picture")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="no SIGTERM to catch")
def test_a_killed_upscaling_leaves_no_files(tmp_path):
    "Not even the temporary file with the pixels of the PNG."
    Image.effect_noise((600, 600), 50).convert("RGB").save(tmp_path / "small.png")
    command = [*SRGAN_COMMAND, "upscale", tmp_path / "small.png", "-o", tmp_path / "out" / "large.png"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not list(tmp_path.glob("out/*")):
            time.sleep(0.05)
        process.terminate()
    assert process.returncode == -signal.SIGTERM # so that a shell's loop ends as well
    assert list(tmp_path.glob("out/*")) == []


def test_what_a_launcher_left_behind_is_ignored(srgan, photos, weights, tmp_path, monkeypatch):
    "Without an address to meet at, a process is alone, and the first."
    for name, value in dict(RANK="1", WORLD_SIZE="2", LOCAL_RANK="1").items():
        monkeypatch.setenv(name, value)
    report = tmp_path / "figures.json"
    assert srgan("evaluate", photos, "--weights", weights, "--json", report, "--device", "cpu").exit_code == 0
    assert json.loads(report.read_text(encoding="utf-8"))["n"] == 3
    assert srgan("upscale", photos, "-o", tmp_path / "large", "--weights", weights, "--device", "cpu").exit_code == 0
    assert names_in(tmp_path / "large") == names_in(photos)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="no SIGTERM to catch")
@pytest.mark.parametrize("command", ["upscale", "train"])
def test_waiting_for_other_processes_is_announced_and_can_be_ended(photos, weights, tmp_path, command):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launched = dict(RANK="0", LOCAL_RANK="0", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    options = dict(
        upscale=["upscale", photos, "-o", tmp_path / "out", "--weights", weights],
        train=["train", "--data", photos, "--out", tmp_path / "out"],
    )
    words = list(map(str, [*SRGAN_COMMAND, *options[command], "--device", "cpu"]))
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=os.environ | launched) as process:
        line = next(line for line in process.stderr if "waiting" in line)
        process.terminate()
    assert f"waiting for 2 processes at 127.0.0.1:{port} (this one is number 0)" in line
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("rank", ["0", "1"])
def test_processes_that_do_not_come_are_not_waited_for_forever(monkeypatch, caplog, rank):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launched = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes, "MEETING", 1)
    with pytest.raises(TimeoutError, match=f"2 processes at 127.0.0.1:{port}.*unset RANK"):
        processes.meet(patience=0)
    assert "waiting for 2 processes" in caplog.text


def test_a_mistyped_run_folder_is_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    "Without a network, that would take minutes."
    monkeypatch.setattr("srgan_nb.weights._from_hub", pytest.fail)
    monkeypatch.chdir(tmp_path)
    Path("runs/first").mkdir(parents=True)
    with pytest.raises(ValueError, match="runs/frist: not in the folder runs; for the hub"):
        load_generator("runs/frist")
    for name in ("runs/first/generator.safetensor", "./frist", "frist", "../runs/first", "~/frist", "a/b/c"):
        with pytest.raises(ValueError):
            load_generator(name)


def names_in(folder):
    return {path.name for path in folder.iterdir()}


def test_patterns_match_files_and_folders(srgan, photos, weights, tmp_path):
    (tmp_path / "photos-2").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos-2/dot.png")
    srgan("upscale", tmp_path / "photos*", "-o", tmp_path / "all", "--weights", weights)
    assert names_in(tmp_path / "all") == names_in(photos) | {"dot.png"}
    result = srgan("upscale", tmp_path / "*.jpg", "-o", tmp_path / "none/", "--weights", weights)
    assert result.exit_code == 1
    assert "nothing matches" in result.stderr
    # a pattern that matches one folder with one photo
    srgan("upscale", tmp_path / "photos-*", "-o", tmp_path / "one", "--weights", weights)
    assert names_in(tmp_path / "one") == {"dot.png"}


def test_json_on_stdout_is_nothing_but_json(srgan, photos, weights):
    report = json.loads(srgan("evaluate", photos, "--weights", weights, "--json", "-").stdout)
    assert report["n"] == len(report["images"]) == 3


def test_infinite_psnr_is_null_in_json(srgan, tmp_path):
    "The PSNR of equal pictures is infinite, which JSON cannot express."
    (tmp_path / "flat").mkdir()
    Image.new("RGB", (32, 32), "grey").save(tmp_path / "flat/grey.png")
    report = tmp_path / "new/figures.json"
    assert srgan("evaluate", tmp_path / "flat", "--weights", "bicubic", "--json", report).exit_code == 0
    figures = json.loads(report.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert figures["mean"]["psnr_y"] is None


def test_impossible_outputs_are_errors_before_the_work_begins(srgan, photos, weights, tmp_path):
    (tmp_path / "file.png").write_text("", encoding="utf-8")
    for arguments, message in [
        (("upscale", photos, "-o", tmp_path / "file.png"), "need a folder"),
        (("evaluate", photos, "--json", tmp_path), "name a file"),
        (("export", "-o", tmp_path / "x.txt"), "NAME.onnx"),
    ]:
        result = srgan(*arguments, "--weights", weights)
        assert result.exit_code == 1
        assert message in result.stderr
    thin_box = ("--box", 0, 0, 1, 0.001)
    result = srgan("compare", weights, "--photo", photos / "coffee.png", *thin_box, "-o", tmp_path / "new/compare.png")
    assert result.exit_code == 1
    assert "larger part" in result.stderr


@pytest.mark.parametrize("scale", [2, 8])
def test_other_scales_train_and_upscale(srgan, photos, tmp_path, scale):
    run, photo, large = tmp_path / "run", photos / "coffee.png", tmp_path / "large.png"
    train = ("train", "--data", photos, "--out", run, "--device", "cpu")
    assert srgan(*train, "--scale", scale, "--steps", 2).exit_code == 0
    assert srgan("upscale", photo, "-o", large, "--weights", run, "--scale", scale).exit_code == 0
    assert Image.open(large).size == (120 * scale, 100 * scale)
    assert srgan("evaluate", photos, "--weights", run).exit_code == 0
    # another scale than the run's is refused
    result = srgan("upscale", photo, "-o", tmp_path / "other.png", "--weights", run, "--scale", 4)
    assert result.exit_code == 1
    assert f"enlarges {scale} times, not 4" in result.stderr
    result = srgan(*train, "--resume", "--scale", 4, "--steps", 4)
    assert result.exit_code == 1
    assert f"'scale': {scale}" in result.stderr


def test_a_scale_that_no_network_has_is_refused(srgan, photos, tmp_path):
    result = srgan("train", "--data", photos, "--out", tmp_path / "run", "--scale", 3, "--steps", 1)
    assert result.exit_code == 1
    assert "2, 4 or 8" in result.stderr
    assert not (tmp_path / "run").exists()


def test_training_on_your_own_lr_pictures(srgan, photos, tmp_path):
    "You can resume such a run with the pairs, but not without them."
    (tmp_path / "lr").mkdir()
    for path in photos.iterdir():
        Image.open(path).resize((30, 25)).save(tmp_path / "lr" / f"{path.stem}x4.png")
    train = ("train", "--data", photos, "--out", tmp_path / "run", "--stage", "srresnet", "--device", "cpu")
    assert srgan(*train, "--lr-dir", tmp_path / "lr", "--steps", 2).exit_code == 0
    assert srgan(*train, "--lr-dir", tmp_path / "lr", "--steps", 4, "--resume").exit_code == 0
    without = srgan(*train, "--steps", 6, "--resume")
    assert without.exit_code == 1
    assert "LR versions" in without.stderr


def test_compare_shows_networks_of_the_same_name(srgan, photos, weights, tmp_path, monkeypatch):
    titles, show = [], metrics.show_comparison

    def keep_titles(lr, hr, results, *rest, **options):
        titles.extend(results)
        return show(lr, hr, results, *rest, **options)

    monkeypatch.setattr(metrics, "show_comparison", keep_titles)
    names = [tmp_path / folder / "same.safetensors" for folder in "ab"]
    for name in names:
        name.parent.mkdir()
        name.write_bytes(weights.read_bytes())
    photo = ("--photo", photos / "coffee.png")
    result = srgan("compare", *names, *photo, "--box", 0, 0, 1, 1, "-o", tmp_path / "compare.png")
    assert result.exit_code == 0
    assert titles == list(map(str, names))
    empty = srgan("compare", names[0], *photo, "--box", 0.5, 0, 0.501, 1, "-o", tmp_path / "empty.png")
    assert empty.exit_code == 1
    assert "no pixel of LR" in empty.stderr


@pytest.mark.parametrize("side", [3, 12])
def test_a_picture_too_small_to_score_is_named(srgan, photos, weights, side):
    Image.new("RGB", (side, side)).save(photos / "tiny.png")
    result = srgan("evaluate", photos, "--weights", weights)
    assert result.exit_code == 1
    assert f"{photos / 'tiny.png'}: " in result.stderr
