"""What breaks elsewhere: kills, full disks, NaN, damaged and hostile files, several processes at once.

`pytest` runs the short part. The long part also writes the counts that nbs/robustness.ipynb shows:

    SRGAN_LONG=benchmarks/results/robustness.json python -m pytest tests/test_robustness.py
"""
import json
import logging
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path
from threading import Timer
from types import SimpleNamespace

import hypothesis.strategies as st
import numpy as np
import psutil
import pytest
import torch
from filelock import FileLock
from hypothesis import given, settings
from PIL import Image, ImageCms

from srgan_nb import steps, training
from srgan_nb.checkpoint import list_checkpoints, load_checkpoint, new_state
from srgan_nb.config import TINY, Config, Stage
from srgan_nb.data import PhotoStore, crop_to_multiple, degrade, sample_photos
from srgan_nb.devices import make_accelerator
from srgan_nb.files import read_tensors
from srgan_nb.generator import Generator
from srgan_nb.inference import Upscaler
from srgan_nb.media import upscale_file
from srgan_nb.metrics import psnr, ssim
from srgan_nb.photo_cache import open_store
from srgan_nb.run_folder import Run, begin_folder, draw_pair, read_metrics, read_record
from srgan_nb.training import train
from srgan_nb.utils import open_photo
from srgan_nb.weights import load_generator, save_generator

from conftest import CPU_FP32, ROOT, SRGAN_COMMAND, metrics_without_times, same_tensors, snapshot, tiny_config

LONG = os.environ.get("SRGAN_LONG")
only_in_the_long_part = pytest.mark.skipif(not LONG, reason="the long part: set SRGAN_LONG")

CONFIG = tiny_config(srresnet=Stage(30), srgan=Stage(30), save_every=1)
UPSCALER = Upscaler(Generator(1, 4), **CPU_FP32)
FIXTURE = ROOT / "tests/fixtures/checkpoint-srresnet-2.safetensors" # written by version 0.1.0
ONE_THREAD = dict(OMP_NUM_THREADS="1")


def same_run(a, b):
    return same_tensors(a, b) and metrics_without_times(a) == metrics_without_times(b)


def keep_counts(**counts):
    "Adds the counts of a long run to its file."
    if not LONG:
        return
    path = Path(LONG)
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    everything = known | counts | dict(date=time.strftime("%Y-%m-%d"))
    path.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")


# Runs that are interrupted

TRAIN = """
import json, sys, torch
torch.set_num_threads(1)
from srgan_nb.config import Config
from srgan_nb.run_folder import read_record
from srgan_nb.training import train
config, (photos, run) = Config.from_dict(json.loads(sys.argv[1])), sys.argv[2:]
train(config, photos, run, resume=read_record(run) is not None, device="cpu", precision="fp32")
"""


def start(run, photos, config=CONFIG):
    "Start or resume a run in a separate process."
    command = [sys.executable, "-c", TRAIN, json.dumps(asdict(config)), str(photos), str(run)]
    environment = os.environ | ONE_THREAD
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_run_killed_at_random_moments_ends_as_the_whole_one(photos, tmp_path):
    "A checkpoint is written at every step, so that many kills happen while one is being written."
    random.seed()
    whole, run = train(CONFIG, photos, tmp_path / "whole", **CPU_FP32), tmp_path / "run"
    kills = kills_during_a_write = 0
    while kills < (20 if LONG else 3):
        process, n_lines = start(run, photos), len(read_metrics(run))
        # let it train at least one step
        while process.poll() is None and len(read_metrics(run)) <= n_lines:
            time.sleep(0.01)
        if kills % 2:
            # kill it anywhere in a step
            time.sleep(random.uniform(0, 0.08))
        else:
            # kill it while it writes a checkpoint
            while process.poll() is None and not list(run.glob(".checkpoint-*")):
                pass
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
        kills_during_a_write += len(list(run.glob(".checkpoint-*")))
        for path in run.glob(".*.safetensors"):
            path.unlink()
        if newest := list_checkpoints(run)[:1]:
            read_tensors(newest[0], "checkpoint") # it is whole
            if newest[0].stem == "checkpoint-srgan-30":
                # the run had ended before the kill, so the next one starts from the beginning
                assert same_run(whole, run)
                shutil.rmtree(run)
    train(CONFIG, photos, run, resume=read_record(run) is not None, **CPU_FP32)
    assert same_run(whole, run)
    keep_counts(kills=kills, kills_during_a_write=kills_during_a_write)


TRAIN_AND_DIE = """
import json, os, signal, sys, torch
torch.set_num_threads(1)
from srgan_nb.config import Config
from srgan_nb.run_folder import read_record
from srgan_nb.training import train
config, (photos, run, die_at) = Config.from_dict(json.loads(sys.argv[1])), sys.argv[2:]

def on_save(folder, stage, step):
    if f"{stage}-{step}" == die_at:
        os.kill(os.getpid(), signal.SIGKILL)

resume = read_record(run) is not None
train(config, photos, run, resume=resume, device="cpu", precision="fp32", on_save=on_save)
"""


@pytest.mark.slow
@pytest.mark.long
@only_in_the_long_part
def test_two_processes_killed_and_resumed_end_as_two_that_were_not(photos, tmp_path):
    "One of them kills itself while it saves, and the launcher ends the other."
    config = json.dumps(asdict(replace(CONFIG, srresnet=Stage(4), srgan=Stage(4))))
    script = tmp_path / "two.py"
    script.write_text(TRAIN_AND_DIE, encoding="utf-8")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | ONE_THREAD | dict(ACCELERATE_USE_CPU="true")

    def launch(run, die_at=""):
        command = [*launcher, str(script), config, str(photos), str(tmp_path / run), die_at]
        return subprocess.run(command, capture_output=True, text=True, timeout=1800, env=environment)

    whole = launch("whole")
    assert whole.returncode == 0, whole.stderr[-2000:]
    for die_at in ("srresnet-2", "srgan-3"):
        assert launch("run", die_at).returncode != 0
    assert launch("run").returncode == 0
    assert same_run(tmp_path / "whole", tmp_path / "run")
    assert read_record(tmp_path / "run")["processes"] == 2
    keep_counts(kills_of_two_processes=2)


@pytest.fixture
def mount(tmp_path):
    """A function that mounts a small file system with the options given, and returns its folder.

    The test is skipped if nothing can be mounted.
    """
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount_disk(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no file system can be mounted here")
        return disk

    yield mount_disk
    if os.path.ismount(disk):
        subprocess.run(["umount", "-l", str(disk)])


@pytest.mark.slow
def test_a_full_disk_loses_nothing(photos, tmp_path, mount):
    disk = mount("size=400k")
    with pytest.raises(OSError, match="checkpoint-srresnet-.*--resume"):
        train(CONFIG, photos, disk / "run", **CPU_FP32)
    read_tensors(list_checkpoints(disk / "run")[0], "checkpoint")
    subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
    train(None, photos, disk / "run", resume=True, **CPU_FP32)
    assert same_run(train(CONFIG, photos, tmp_path / "whole", **CPU_FP32), disk / "run")


@pytest.mark.slow
def test_a_full_disk_leaves_no_half_clip(srgan, tmp_path, mount):
    "ffmpeg stops without an error message, so its frames are counted."
    clip = tmp_path / "noise.mp4"
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    writer = ffmpeg.write_frames(str(clip), (48, 32), fps=10, ffmpeg_log_level="error")
    writer.send(None)
    for frame in np.random.default_rng(0).integers(0, 256, (10, 32, 48, 3), dtype=np.uint8):
        writer.send(frame)
    writer.close()
    disk = mount("size=8k")
    result = srgan("upscale", clip, "-o", disk / "large.mp4", "--weights", "srresnet")
    assert result.exit_code == 1
    assert str(disk) in result.stderr
    assert list(disk.glob("*.mp4")) == []


def test_a_read_only_disk_is_named(srgan, photos, weights, mount):
    disk = mount("ro")
    for arguments in [
        ("train", "--data", photos, "--out", disk / "run"),
        ("upscale", photos / "coffee.png", "-o", disk / "out.png", "--weights", weights),
    ]:
        result = srgan(*arguments)
        assert result.exit_code == 1
        assert "Read-only" in result.stderr
        assert str(disk) in result.stderr


def test_a_folder_that_vanishes_is_named(photos, tmp_path):
    def remove(run, stage, step):
        shutil.rmtree(run)

    with pytest.raises(OSError, match="run: .*go on with --resume"):
        train(CONFIG, photos, tmp_path / "run", on_save=remove, **CPU_FP32)


def test_a_second_process_is_refused(photos, tmp_path):
    refused_at = []

    def train_again(run, stage, step):
        with pytest.raises(ValueError, match="another process is training"):
            train(None, photos, run, resume=True, **CPU_FP32)
        refused_at.append(step)

    config = replace(CONFIG, srresnet=Stage(2), srgan=Stage())
    train(config, photos, tmp_path / "run", on_save=train_again, **CPU_FP32)
    assert refused_at == [1, 2]


def test_a_checkpoint_of_the_first_version_loads_and_can_be_resumed(tmp_path):
    about, _ = read_tensors(FIXTURE, "checkpoint")
    config = Config.from_dict(json.loads(about["config"]))
    assert load_checkpoint(FIXTURE, config, torch.device("cpu")).step == 2
    shutil.copy(FIXTURE, tmp_path)
    store = PhotoStore(sample_photos(), config.crop)
    run = Run(config, tmp_path, store, 0, make_accelerator(**CPU_FP32))
    begin_folder(run, None, False, dict(stage="srresnet"))
    train(replace(config, srresnet=Stage(3)), store, tmp_path, resume=True, **CPU_FP32)
    assert [line["step"] for line in read_metrics(tmp_path)] == [3]


def test_a_users_copy_of_a_checkpoint_is_left_alone(photos, tmp_path):
    run = train(replace(CONFIG, srresnet=Stage(2)), photos, tmp_path / "run", "srresnet", **CPU_FP32)
    for name in ("checkpoint-srresnet-2-good", "checkpoint-srresnet-2 (1)"):
        shutil.copy(run / "checkpoint-srresnet-2.safetensors", run / f"{name}.safetensors")
    train(replace(CONFIG, srresnet=Stage(5)), photos, run, resume=True, **CPU_FP32)
    assert [path.stem for path in list_checkpoints(run)] == ["checkpoint-srresnet-5", "checkpoint-srresnet-4"]
    assert len(list(run.glob("checkpoint-*"))) == 4


# Gradients that are not finite

def make_loss_nan(monkeypatch, at):
    "Make the pixel loss NaN in the given steps, counted from 1."
    step, pixel_loss = 0, steps.pixel_loss

    def loss(sr, hr):
        nonlocal step
        step += 1
        return pixel_loss(sr, hr) * (float("nan") if step in at else 1)

    monkeypatch.setattr(steps, "pixel_loss", loss)


@pytest.mark.parametrize("stage", ["srresnet", "srgan"])
def test_a_step_with_nan_is_skipped_and_named(photos, tmp_path, monkeypatch, caplog, stage):
    make_loss_nan(monkeypatch, {3, 4})
    config = replace(CONFIG, srresnet=Stage(6), srgan=Stage(6))
    run = train(config, photos, tmp_path / "run", stage=stage, **CPU_FP32)
    warnings = [line for line in caplog.messages if "non-finite gradient" in line]
    assert [line.split(":")[0] for line in warnings] == [f"{stage}, step 3", f"{stage}, step 4"]
    assert "chelsea.png at (" in "".join(warnings)
    assert all(t.isfinite().all() for t in read_tensors(list_checkpoints(run)[0], "checkpoint")[1].values())
    assert len(read_metrics(run)) == 6


def test_a_step_with_nan_changes_nothing(photos, monkeypatch):
    "Neither the weights nor Adam's moments nor BatchNorm's statistics change."
    make_loss_nan(monkeypatch, {2})
    store = PhotoStore(photos, CONFIG.crop)
    run = Run(CONFIG, Path("nowhere"), store, 0, make_accelerator(**CPU_FP32))
    state = new_state(CONFIG, "srresnet", 0, torch.device("cpu"))
    step = training.make_step(run, state)[1]
    assert step(*draw_pair(run, 0))["finite"]
    before = snapshot(state)
    assert not step(*draw_pair(run, 1))["finite"]
    assert all(torch.equal(t, before[key]) for key, t in snapshot(state).items())
    assert step(*draw_pair(run, 2))["finite"]
    assert not torch.equal(snapshot(state)["g.tail.weight"], before["g.tail.weight"])


def test_many_unusable_steps_in_a_row_stop_the_run(srgan, photos, tmp_path, monkeypatch):
    make_loss_nan(monkeypatch, set(range(5, 100)))
    options = ("--stage", "srresnet", "--steps", "60", "--device", "cpu")
    result = srgan("train", "--data", photos, "--out", tmp_path / "run", *options)
    assert result.exit_code == 1
    assert "10 steps in a row" in result.stderr
    assert "--clip" in result.stderr


def test_no_checkpoint_is_written_while_steps_are_unusable(photos, tmp_path, monkeypatch):
    "The weights may be the cause, so the checkpoint that the error names is from before the first unusable step."
    make_loss_nan(monkeypatch, set(range(5, 100)))
    with pytest.raises(FloatingPointError, match="checkpoint-srresnet-4.safetensors was written before"):
        train(CONFIG, photos, tmp_path / "run", "srresnet", **CPU_FP32)
    assert list_checkpoints(tmp_path / "run")[0].stem == "checkpoint-srresnet-4"


# Files

def write_usable_photos(folder: Path):
    photo = sample_photos()["coffee"].crop((100, 100, 200, 170))
    grey = photo.convert("L")
    pictures = dict(
        a=photo,
        grey=grey,
        palette=photo.convert("P"),
        alpha=photo.convert("RGBA"),
        bit=photo.convert("1"),
        sixteen=Image.fromarray(np.asarray(grey).astype(np.uint16) * 257),
    )
    for name, picture in pictures.items():
        picture.save(folder / f"{name}.png")
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    photo.save(folder / "mislabelled.jpg", "PNG")
    can_spell = sys.getfilesystemencoding().startswith("utf") # not so in an ASCII locale without Python's UTF-8 mode
    photo.save(folder / ("日本 ü.webp" if can_spell else "two words.webp"))
    photo.save(folder / "animated.webp", save_all=True, append_images=[photo.rotate(90)])
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(folder / "turned.jpg", exif=exif)
    shutil.copy(folder / "a.png", folder / "twice.png")


def write_broken_photos(folder: Path):
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("no picture", encoding="utf-8")
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:3000])
    # a PNG that claims to have 40 gigapixels
    header = bytearray((folder / "bit.png").read_bytes())
    header[16:24] = (200_000).to_bytes(4, "big") * 2
    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    (folder / "bomb.png").write_bytes(header)
    if os.name != "nt":
        (folder / "loop.png").symlink_to(folder / "loop.png")
        (folder / "gone.png").symlink_to(folder / "nowhere.png")


def fill_with_everything(folder: Path) -> tuple[set, set]:
    "Fill a folder with everything a photo collection may contain. Returns the names of usable and of broken photos."
    write_usable_photos(folder)
    good = {path.name for path in folder.iterdir()}
    write_broken_photos(folder)
    bad = {path.name for path in folder.iterdir()} - good
    Image.new("RGB", (1, 1)).save(folder / "dot.png") # can be upscaled, but not trained on
    (folder / "notes.txt").write_text("not a photo, and ignored", encoding="utf-8")
    (folder / "folder.png").mkdir()
    if os.name != "nt":
        (folder / "up").symlink_to(folder)
    return good, bad


def test_a_folder_of_everything_trains_and_upscales(srgan, tmp_path, weights):
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    good, bad = fill_with_everything(folder)

    store = PhotoStore(folder, crop=32)
    assert set(store.names) == good
    assert set(store.skipped) == bad | {"dot.png"}
    assert all(store.skipped.values())
    with pytest.raises(ValueError, match=f"{len(bad) + 1} of {len(good) + len(bad) + 1} photos"):
        PhotoStore(folder, crop=32, strict=True)

    result = srgan("upscale", folder, "-o", out, "--weights", weights)
    passed, *lines = result.stderr.strip().splitlines()
    errors = [line for line in lines if not line.endswith("sixteen.png: 16 bits a channel; the result has 8")]
    assert result.exit_code == 1
    assert passed.endswith("passed over 1, not a photo or clip: notes.txt")
    assert len(errors) == len(bad) == len(lines) - 1
    for name in bad:
        assert sum(f"{name}:" in line for line in errors) == 1
    assert len(list(out.iterdir())) == len(good) + 1 # the single pixel, too
    assert Image.open(out / "turned.png").size == (280, 400)
    assert Image.open(out / "dot.png").size == (4, 4)
    assert Image.open(out / "alpha.png").mode == "RGBA"
    keep_counts(good_files=len(good) + 1, bad_files=len(bad))


def test_a_cache_whose_pixels_are_gone_is_written_again(photos, tmp_path):
    cache = tmp_path / "cache"
    # copies, because Windows does not delete a mapped file
    before = [pixels.copy() for pixels in PhotoStore(photos, 32, cache=cache).pixels]
    next(cache.glob("*.pixels")).unlink()
    after = PhotoStore(photos, 32, cache=cache)
    assert all(np.array_equal(a, b) for a, b in zip(before, after.pixels))
    assert len(after) == len(before) > 0


def test_a_photo_that_is_added_is_all_that_is_written(tmp_path):
    cache, written = tmp_path / "cache", []
    (tmp_path / "photos").mkdir()
    for name, side in (("a", 40), ("b", 50), ("c", 60)):
        Image.new("RGB", (side, side)).save(tmp_path / f"photos/{name}.png")
        store = PhotoStore(tmp_path / "photos", 32, cache=cache)
        written.append(sorted(path.stat().st_size for path in cache.glob("*.pixels")))
    assert written == [[4800], [4800, 7500], [4800, 7500, 10800]]
    assert [len(pixels) for pixels in store.pixels] == [40, 50, 60]


def test_waiting_for_the_cache_is_announced_once(photos, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("srgan_nb.photo_cache.PATIENCE", 0)
    lock = FileLock(tmp_path / "cache.lock", thread_local=False)
    lock.acquire() # as another process would
    release_at_last = Timer(60, lock.release) # so that a test without an announcement fails, and doesn't hang
    release_at_last.start()

    class Release(logging.Handler):
        def emit(self, record): lock.release()

    logger, handler = logging.getLogger("srgan_nb"), Release()
    logger.addHandler(handler)
    try: store = PhotoStore(photos, 32, cache=tmp_path)
    finally:
        release_at_last.cancel()
        logger.removeHandler(handler)
    sentence = f"{tmp_path}: waiting for another process, which decodes photographs into this cache"
    assert len(store) and caplog.messages == [sentence]
    PhotoStore(photos, 32, cache=tmp_path)
    assert len(caplog.messages) == 1 # the lock is free again


def test_a_part_of_the_cache_that_nobody_uses_is_deleted(tmp_path):
    cache = tmp_path / "cache"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (40, 40)).save(tmp_path / name / "photo.png")
        PhotoStore(tmp_path / name, 32, cache=cache)
    for index in cache.glob("*.index"): os.utime(index, (0, 0)) # the beginning of 1970
    PhotoStore(tmp_path / "b", 32, cache=cache)
    PhotoStore(tmp_path / "b", 32, cache=cache)
    assert len(list(cache.glob("*.pixels"))) == len(list(cache.glob("*.index"))) == 1


def test_folders_that_look_alike_have_separate_caches(tmp_path):
    "The same names, sizes and times, as an archive that resets times leaves them."
    for folder, colour in dict(dark="black", light="white").items():
        (tmp_path / folder).mkdir()
        photo = tmp_path / folder / "a.bmp"
        Image.new("RGB", (40, 40), colour).save(photo)
        os.utime(photo, (0, 0))
    brightest = []
    for folder in ("dark", "light"):
        store = PhotoStore(tmp_path / folder, 32, cache=tmp_path / "cache")
        brightest.append(store.pixels[0].max())
    assert brightest == [0, 255]


def test_a_photo_that_has_changed_is_decoded_again(tmp_path):
    "Even if its name and the size of its file are the same: then its time tells."
    photo, brightest = tmp_path / "photos/a.bmp", []
    photo.parent.mkdir()
    for seconds, colour in enumerate(("black", "white")):
        Image.new("RGB", (40, 40), colour).save(photo)
        os.utime(photo, (seconds, seconds))
        store = PhotoStore(photo.parent, 32, cache=tmp_path / "cache")
        brightest.append(store.pixels[0].max())
    assert brightest == [0, 255]


def test_processes_of_one_machine_share_the_memory(photos, monkeypatch):
    "Photos that fit once into half of the free memory do not fit eight times."
    size = sum(pixels.nbytes for pixels in PhotoStore(photos, 32).pixels)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=4 * size))
    monkeypatch.setattr("srgan_nb.photo_cache.CACHE", photos.parent / "cache")
    assert open_store(photos, 32).cache is None
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert open_store(photos, 32).cache is not None


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_weights_have_the_permissions_of_any_new_file(tmp_path):
    save_generator(Generator(1, 4), tmp_path / "new.safetensors")
    (tmp_path / "other").touch()
    assert (tmp_path / "new.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("name, mode, space, kept", [
    ("photo.png", "RGB", "sRGB", True),
    ("scan.tif", "CMYK", "CMYK", False),
    ("grey.png", "I;16", "GRAY", True),
])
def test_a_colour_profile_is_kept_if_it_fits(tmp_path, name, mode, space, kept):
    "A CMYK picture's profile is about inks, but the result is RGB."
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if space != "sRGB":
        profile = profile[:16] + space.encode().ljust(4) + profile[20:]
    if mode == "I;16":
        picture = Image.fromarray(np.full((8, 8), 2**15, np.uint16))
    else:
        picture = Image.new(mode, (8, 8))
    picture.save(tmp_path / name, icc_profile=profile)
    for suffix in (".png", ".tif", ".jpg"):
        upscale_file(tmp_path / name, tmp_path / f"large{suffix}", UPSCALER)
        with Image.open(tmp_path / f"large{suffix}") as large:
            assert large.info.get("icc_profile") == (profile if kept else None)


def test_a_png_that_libvips_cannot_write_is_named_and_the_others_are_written(
    srgan, photos, weights, tmp_path, monkeypatch
):
    pyvips = pytest.importorskip("pyvips")
    write, failed = pyvips.Image.pngsave, []

    def fail_once(self, target, **options):
        if failed:
            return write(self, target, **options)
        failed.append(target)
        raise pyvips.Error("write error", "No space left on device")

    monkeypatch.setattr(pyvips.Image, "pngsave", fail_once, raising=False)
    result = srgan("upscale", photos, "-o", tmp_path / "large", "--weights", weights)
    assert result.exit_code == 1
    assert "is the disk full?" in result.stderr
    assert len(list((tmp_path / "large").iterdir())) == len(list(photos.iterdir())) - 1


class LeavesTrace:
    "Unpickling it writes a file."
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return open, (self.trace, "w")


@pytest.mark.parametrize("suffix", ["pt", "pth", "safetensors"])
def test_a_pickle_is_refused_and_not_run(srgan, photos, tmp_path, suffix):
    trace, path = tmp_path / "it ran", tmp_path / f"weights.{suffix}"

    def write_plain_pickle():
        path.write_bytes(pickle.dumps(LeavesTrace(str(trace))))

    def write_with_torch():
        torch.save(dict(head=LeavesTrace(str(trace))), path)

    for write in (write_plain_pickle, write_with_torch):
        write()
        with pytest.raises(ValueError, match="not a safetensors file"):
            load_generator(path)
        with pytest.raises(ValueError, match="not a safetensors file"):
            load_checkpoint(path, CONFIG, torch.device("cpu"))
        result = srgan("upscale", photos, "-o", tmp_path / "out", "--weights", path)
        assert result.exit_code == 1
        result = srgan("train", "--data", photos, "--out", tmp_path / "run", "--preset", "blog", "--vgg", path)
        assert result.exit_code == 1
        assert not trace.exists()


def test_damaged_weights_are_refused(tmp_path, weights):
    "They are cut off anywhere, or one bit is changed anywhere."
    path, whole = tmp_path / "damaged.safetensors", weights.read_bytes()
    rng, cases = random.Random(0), 500 if LONG else 60
    for case in range(cases):
        damaged = bytearray(whole)
        if case % 2:
            del damaged[rng.randrange(len(whole)):]
        else:
            damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            assert same_tensors(path, weights) # then only a letter of the description has changed
        except ValueError as error:
            assert str(path) in str(error)
    keep_counts(damaged_weights=cases)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_fuzzed_headers_give_a_picture_or_an_error(form):
    buffer = BytesIO()
    sample_photos()["coffee"].crop((0, 0, 40, 30)).save(buffer, form)
    whole = buffer.getvalue()
    rng, cases, opened = random.Random(form), 1000 if LONG else 120, 0
    for _ in range(cases):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(min(len(data), 200))] = rng.randrange(256)
        try:
            photo = open_photo(BytesIO(bytes(data)))
        except ValueError:
            continue
        assert photo.mode in ("L", "LA", "RGB", "RGBA")
        opened += 1
    keep_counts(**{f"fuzzed_{form.lower()}": cases, f"fuzzed_{form.lower()}_opened": opened})


# Properties that hold for any picture

@settings(max_examples=200 if LONG else 25, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    batch=st.integers(1, 3),
    tile=st.integers(1, 50),
    seed=st.integers(0, 10**6),
)
def test_any_size_and_tile_gives_four_times_the_size(height, width, batch, tile, seed):
    torch.manual_seed(seed)
    lr = torch.rand(batch, 3, height, width)
    whole = UPSCALER.upscale(lr)
    UPSCALER.tile = tile
    try:
        tiled = UPSCALER.upscale(lr)
    finally:
        UPSCALER.tile = None
    assert whole.shape == tiled.shape == (batch, 3, 4 * height, 4 * width)
    assert whole.isfinite().all()
    assert torch.allclose(whole, tiled, atol=1e-5)


MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I;16", "I"]


@settings(max_examples=100 if LONG else 15, deadline=None)
@given(width=st.integers(1, 30), height=st.integers(1, 30), mode=st.sampled_from(MODES))
def test_any_mode_gives_four_times_the_size(width, height, mode):
    large = UPSCALER(Image.new(mode, (width, height)))
    assert large.size == (4 * width, 4 * height)
    assert large.mode in ("L", "LA", "RGB", "RGBA")


@settings(max_examples=100 if LONG else 15, deadline=None)
@given(
    height=st.integers(4, 12),
    width=st.integers(4, 12),
    seed=st.integers(0, 10**6),
    level=st.floats(0.01, 0.2),
)
def test_properties_of_degrade_and_the_metrics(height, width, seed, level):
    torch.manual_seed(seed)
    hr = torch.rand(1, 3, 4 * height, 4 * width)
    lr = degrade(hr)
    assert lr.shape == (1, 3, height, width)
    assert 0 <= lr.min() and lr.max() <= 1
    assert torch.equal(lr, degrade(crop_to_multiple(hr)))
    assert torch.equal((lr * 255).round() / 255, lr) # whole levels
    flat = torch.full_like(hr, 0.6)
    assert torch.allclose(degrade(flat), torch.full_like(lr, 0.6), atol=1e-6) # a flat picture stays flat

    # more noise, less PSNR
    noisy, noisier = ((hr + k * level * torch.randn_like(hr)).clamp(0, 1) for k in (1, 4))
    assert torch.equal(psnr(hr, noisy, shave=0), psnr(noisy, hr, shave=0))
    assert psnr(hr, noisier, shave=0) < psnr(hr, noisy, shave=0)
    if min(hr.shape[-2:]) >= 16:
        assert ssim(hr, hr, shave=0).item() == pytest.approx(1, abs=1e-4)
        assert -1 <= ssim(hr, noisy, shave=0) <= 1


# Many processes at once, and one that runs for a long time

@pytest.mark.slow
def test_several_upscales_at_once_are_all_correct(photos, tmp_path, weights):
    source, expected, count = photos / "coffee.png", tmp_path / "expected.png", 20 if LONG else 3
    upscale_file(source, expected, Upscaler.from_pretrained(weights, **CPU_FP32))
    outputs = [tmp_path / "out" / f"{k}.png" for k in range(count)]
    options = ["--weights", weights, "--device", "cpu", "--precision", "fp32"]
    processes = []
    for output in outputs:
        command = [*SRGAN_COMMAND, "upscale", source, *options, "-o", output]
        environment = os.environ | ONE_THREAD
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, env=environment)
        processes.append(process)
    assert [process.wait(600) for process in processes] == [0] * count
    pixels = np.asarray(Image.open(expected))
    assert all(np.array_equal(np.asarray(Image.open(output)), pixels) for output in outputs)
    keep_counts(upscales_at_once=count)


@pytest.mark.slow
@pytest.mark.long
@only_in_the_long_part
def test_memory_and_open_files_do_not_grow(photos, tmp_path):
    "2,000 steps of TINY, measured every 100 steps. The last measurement is compared with that of step 200."
    process, memory, open_files = psutil.Process(), [], []

    def measure(run, stage, step):
        memory.append(process.memory_info().rss / 2**20)
        open_files.append(process.num_fds() if hasattr(process, "num_fds") else 0)

    config = replace(TINY, srresnet=Stage(2000), srgan=Stage(), save_every=100)
    train(config, photos, tmp_path / "run", on_save=measure, **CPU_FP32)
    keep_counts(long_run_steps=2000, long_run_mib=[round(mib) for mib in memory])
    assert memory[-1] < 1.02 * memory[1] + 5
    assert open_files[-1] == open_files[1]
