"""What breaks elsewhere: kills, full disks, NaN, damaged and hostile files, several processes at once.

`pytest` runs the fast part. The long part, which writes the counts that nbs/robustness.ipynb shows:

    SRGAN_LONG=benchmarks/results/robustness.json python -m pytest tests/test_robust.py
"""
import json
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
from types import SimpleNamespace

import hypothesis.strategies as st
import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from PIL import Image, ImageCms

import srgan_nb.training as training
from conftest import HERE, ROOT, same_tensors, timeless
from srgan_nb.data import PhotoStore, crop_to_multiple, degrade, sample_photos
from srgan_nb.generator import Generator, load_generator, read_tensors, save_generator
from srgan_nb.inference import Upscaler, upscale_file
from srgan_nb.metrics import psnr, ssim
from srgan_nb.training import TINY, Config, Stage, checkpoints, load_checkpoint, read_metrics, read_record, train
from srgan_nb.utils import open_photo

LONG = os.environ.get("SRGAN_LONG")
CONFIG = replace(TINY, srresnet=Stage(30), srgan=Stage(30), n_blocks=1, channels=8, d_channels=4, crop=32, batch=4, save_every=1, log_every=1)
FIXTURE = ROOT / "tests/fixtures/checkpoint-srresnet-2.safetensors" # written by version 0.1.0


def same(a, b): return same_tensors(a, b) and timeless(a) == timeless(b)


def tally(**counts):
    "Keep the counts of a long run."
    if not LONG: return
    path = Path(LONG)
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps(known | counts | dict(date=time.strftime("%Y-%m-%d")), indent=1) + "\n", encoding="utf-8")


# Runs that are interrupted

def start(run, photos, config=CONFIG):
    "A training process of its own."
    code = (f"import torch; torch.set_num_threads(1); from srgan_nb.training import Config, read_record, train; import json\n"
            f"train(Config.from_dict(json.loads({json.dumps(asdict(config))!r})), {str(photos)!r}, {str(run)!r}, resume=read_record({str(run)!r}) is not None, device='cpu', precision='fp32')")
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | dict(OMP_NUM_THREADS="1"))


@pytest.fixture
def mounted(tmp_path):
    "A function that mounts a small file system with the options given, and gives its folder. The test skips where nothing can be mounted."
    disk = tmp_path / "disk"; disk.mkdir()
    def mount(options):
        if shutil.which("mount") is None or subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], capture_output=True).returncode: pytest.skip("no file system can be mounted here")
        return disk
    yield mount
    if os.path.ismount(disk): subprocess.run(["umount", "-l", str(disk)])


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no SIGKILL")
def test_killed_at_random_moments_a_run_ends_as_the_whole_one(photos, tmp_path):
    "A checkpoint is written at every step, so that many kills fall into the writing of one."
    random.seed()
    whole, run, kills, torn = train(CONFIG, photos, tmp_path / "whole", **HERE), tmp_path / "run", 0, 0
    while kills < (20 if LONG else 3):
        process, seen = start(run, photos), len(read_metrics(run))
        while process.poll() is None and len(read_metrics(run)) <= seen: time.sleep(0.01) # until it goes on
        if kills % 2: time.sleep(random.uniform(0, 0.08)) # anywhere in a step
        else: # while a checkpoint is being written
            while process.poll() is None and not list(run.glob(".checkpoint-*")): pass
        process.send_signal(signal.SIGKILL); process.communicate()
        kills += 1; torn += len(list(run.glob(".checkpoint-*")))
        for path in run.glob(".*.safetensors"): path.unlink()
        if checkpoints(run): read_tensors(checkpoints(run)[0], "checkpoint") # whole
        if checkpoints(run)[:1] and checkpoints(run)[0].stem == "checkpoint-srgan-30": # done: once more from the beginning
            assert same(whole, run); shutil.rmtree(run)
    train(CONFIG, photos, run, resume=read_record(run) is not None, **HERE)
    assert same(whole, run)
    tally(kills=kills, kills_during_a_write=torn)


def test_a_full_disk_loses_nothing(photos, tmp_path, mounted):
    disk = mounted("size=400k")
    with pytest.raises(OSError, match="checkpoint-srresnet-.*--resume"): train(CONFIG, photos, disk / "run", **HERE)
    read_tensors(checkpoints(disk / "run")[0], "checkpoint")
    subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
    train(None, photos, disk / "run", resume=True, **HERE)
    assert same(train(CONFIG, photos, tmp_path / "whole", **HERE), disk / "run")


def test_a_clip_is_whole_or_absent_on_a_full_disk(srgan, tmp_path, mounted):
    "ffmpeg stops without a word; its frames are counted."
    clip = pytest.importorskip("imageio_ffmpeg").write_frames(str(tmp_path / "noise.mp4"), (48, 32), fps=10, ffmpeg_log_level="error")
    clip.send(None)
    for frame in np.random.default_rng(0).integers(0, 256, (10, 32, 48, 3), dtype=np.uint8): clip.send(frame)
    clip.close()
    disk = mounted("size=8k")
    result = srgan("upscale", tmp_path / "noise.mp4", "-o", disk / "large.mp4", "--weights", "srresnet")
    assert result.exit_code == 1 and str(disk) in result.stderr and list(disk.glob("*.mp4")) == []


@pytest.mark.skipif(not LONG, reason="the long part: set SRGAN_LONG")
def test_two_processes_killed_and_resumed_end_as_two_that_were_not(photos, tmp_path):
    "One of them kills itself while it saves; the launcher takes the other down."
    script = tmp_path / "two.py"
    script.write_text(f"""
import json, os, signal, sys, torch; torch.set_num_threads(1)
from srgan_nb.training import Config, read_record, train
run, die_at = sys.argv[1], sys.argv[2]
def on_save(folder, stage, step):
    if f"{{stage}}-{{step}}" == die_at: os.kill(os.getpid(), signal.SIGKILL)
train(Config.from_dict(json.loads({json.dumps(asdict(replace(CONFIG, srresnet=Stage(4), srgan=Stage(4))))!r})), {str(photos)!r}, run, resume=read_record(run) is not None, device="cpu", precision="fp32", on_save=on_save)
""", encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    launch = lambda run, die_at="": subprocess.run([*command, str(tmp_path / run), die_at], capture_output=True, text=True, timeout=1800, env=os.environ | dict(OMP_NUM_THREADS="1", ACCELERATE_USE_CPU="true"))
    whole = launch("whole")
    assert whole.returncode == 0, whole.stderr[-2000:]
    for die_at in ("srresnet-2", "srgan-3"): assert launch("run", die_at).returncode != 0
    assert launch("run").returncode == 0
    assert same(tmp_path / "whole", tmp_path / "run") and read_record(tmp_path / "run")["processes"] == 2
    tally(kills_of_two_processes=2)


def test_a_read_only_disk_is_named(srgan, photos, weights, mounted):
    disk = mounted("ro")
    for arguments in (("train", "--data", photos, "--out", disk / "run"), ("upscale", photos / "coffee.png", "-o", disk / "out.png", "--weights", weights)):
        result = srgan(*arguments)
        assert result.exit_code == 1 and "Read-only" in result.stderr and str(disk) in result.stderr


def test_a_folder_that_vanishes_is_named(photos, tmp_path):
    with pytest.raises(OSError, match="run: .*go on with --resume"):
        train(CONFIG, photos, tmp_path / "run", on_save=lambda run, stage, step: shutil.rmtree(run), **HERE)


def test_a_second_process_is_refused(photos, tmp_path):
    refused = []
    def second(run, stage, step):
        with pytest.raises(ValueError, match="another process is training"): train(None, photos, run, resume=True, **HERE)
        refused.append(step)
    train(replace(CONFIG, srresnet=Stage(2), srgan=Stage()), photos, tmp_path / "run", on_save=second, **HERE)
    assert refused == [1, 2]


def test_a_checkpoint_of_the_first_version_loads_and_goes_on(tmp_path):
    about, _ = read_tensors(FIXTURE, "checkpoint")
    config = Config.from_dict(json.loads(about["config"]))
    assert load_checkpoint(FIXTURE, config, torch.device("cpu")).step == 2
    shutil.copy(FIXTURE, tmp_path)
    store = PhotoStore(sample_photos(), config.crop)
    run = training.Run(config, tmp_path, store, 0, training.make_accelerator("cpu", "fp32"))
    (tmp_path / "train.json").write_text(json.dumps(training._record(run)), encoding="utf-8")
    train(replace(config, srresnet=Stage(3)), store, tmp_path, resume=True, **HERE)
    assert [line["step"] for line in read_metrics(tmp_path)] == [3]


# Gradients that are no numbers

def spoil(monkeypatch, bad):
    "Make the pixel loss NaN in the steps `bad`, counted from 1."
    calls, original = [], training.pixel_loss
    def loss(sr, hr): calls.append(1); return original(sr, hr) * (float("nan") if len(calls) in bad else 1)
    monkeypatch.setattr(training, "pixel_loss", loss)


@pytest.mark.parametrize("stage", ["srresnet", "srgan"])
def test_a_step_with_nan_is_left_out_and_named(photos, tmp_path, monkeypatch, capsys, stage):
    spoil(monkeypatch, {3, 4})
    run = train(replace(CONFIG, srresnet=Stage(6), srgan=Stage(6)), photos, tmp_path / "run", stage=stage, **HERE)
    said = [line for line in capsys.readouterr().err.splitlines() if "no number" in line]
    assert [line.split(":")[0] for line in said] == [f"{stage}, step 3", f"{stage}, step 4"] and "chelsea.png at (" in "".join(said)
    assert all(t.isfinite().all() for t in read_tensors(checkpoints(run)[0], "checkpoint")[1].values())
    assert len(read_metrics(run)) == 6


def test_a_step_with_nan_changes_nothing(photos, monkeypatch):
    "Neither weights nor moments nor BatchNorm's statistics."
    spoil(monkeypatch, {2})
    store = PhotoStore(photos, CONFIG.crop)
    run = training.Run(CONFIG, Path("nowhere"), store, 0, training.make_accelerator("cpu", "fp32"))
    state = training.new_state(CONFIG, "srresnet", 0, torch.device("cpu"))
    one_step = training.make_step(run, state)
    snapshot = lambda: {key: t.clone() for key, t in training.state_tensors(state).items() if not key.startswith("ema.") and "num_batches" not in key}
    assert training.run_step(run, state, one_step)["usable"]
    before = snapshot()
    assert not training.run_step(run, state, one_step)["usable"]
    assert all(torch.equal(t, before[key]) for key, t in snapshot().items())
    assert training.run_step(run, state, one_step)["usable"] and not torch.equal(snapshot()["g.tail.weight"], before["g.tail.weight"])


def test_many_in_a_row_stop_the_run(srgan, photos, tmp_path, monkeypatch):
    spoil(monkeypatch, set(range(5, 100)))
    result = srgan("train", "--data", photos, "--out", tmp_path / "run", "--stage", "srresnet", "--steps", "60", "--device", "cpu")
    assert result.exit_code == 1 and "10 steps in a row" in result.stderr and "--clip" in result.stderr


def test_no_checkpoint_is_written_while_steps_are_unusable(photos, tmp_path, monkeypatch):
    "The weights may be what spoils them; the checkpoint that the error names is from before."
    spoil(monkeypatch, set(range(5, 100)))
    with pytest.raises(FloatingPointError, match="checkpoint-srresnet-4.safetensors was written before"): train(CONFIG, photos, tmp_path / "run", "srresnet", **HERE)
    assert checkpoints(tmp_path / "run")[0].stem == "checkpoint-srresnet-4"


def test_a_users_copy_of_a_checkpoint_is_left_alone(photos, tmp_path):
    run = train(replace(CONFIG, srresnet=Stage(2)), photos, tmp_path / "run", "srresnet", **HERE)
    for name in ("checkpoint-srresnet-2-good", "checkpoint-srresnet-2 (1)"): shutil.copy(run / "checkpoint-srresnet-2.safetensors", run / f"{name}.safetensors")
    train(replace(CONFIG, srresnet=Stage(5)), photos, run, resume=True, **HERE)
    assert [path.stem for path in checkpoints(run)] == ["checkpoint-srresnet-5", "checkpoint-srresnet-4"] and len(list(run.glob("checkpoint-*"))) == 4


# Files

def good_and_bad(folder: Path) -> tuple[set, set]:
    "A folder with everything a collection of photographs may hold: names of the usable ones, and of the others."
    photo = sample_photos()["coffee"].crop((100, 100, 200, 170))
    good = dict(a=photo, grey=photo.convert("L"), palette=photo.convert("P"), alpha=photo.convert("RGBA"), bit=photo.convert("1"), sixteen=Image.fromarray((np.asarray(photo.convert("L")).astype(np.uint16) * 257)))
    for name, picture in good.items(): picture.save(folder / f"{name}.png")
    photo.convert("CMYK").save(folder / "cmyk.jpg"); photo.save(folder / "mislabelled.jpg", "PNG"); photo.save(folder / "日本 ü.webp")
    photo.save(folder / "animated.webp", save_all=True, append_images=[photo.rotate(90)])
    exif = Image.Exif(); exif[0x0112] = 6
    photo.save(folder / "turned.jpg", exif=exif); shutil.copy(folder / "a.png", folder / "twice.png")
    (folder / "empty.png").touch(); (folder / "text.jpg").write_text("no picture", encoding="utf-8"); (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:3000])
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    header = bytearray((folder / "bit.png").read_bytes()); header[16:24] = (200_000).to_bytes(4, "big") * 2 # claims 40 gigapixels
    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    (folder / "bomb.png").write_bytes(header)
    (folder / "notes.txt").write_text("not asked", encoding="utf-8"); (folder / "folder.png").mkdir()
    if os.name != "nt":
        (folder / "loop.png").symlink_to(folder / "loop.png"); (folder / "up").symlink_to(folder); (folder / "gone.png").symlink_to(folder / "nowhere.png")
    bad = {"empty.png", "text.jpg", "cut.png", "bomb.png"} | ({"loop.png", "gone.png"} if os.name != "nt" else set())
    return {path.name for path in folder.iterdir() if path.is_file()} - bad - {"notes.txt", "dot.png"}, bad


def test_a_folder_of_everything_trains_and_upscales(srgan, tmp_path, weights):
    folder = tmp_path / "photos"; folder.mkdir()
    good, bad = good_and_bad(folder)
    store = PhotoStore(folder, crop=32)
    assert set(store.names) == good and set(store.skipped) == bad | {"dot.png"} and all(store.skipped.values())
    with pytest.raises(ValueError, match=f"{len(bad) + 1} of {len(good) + len(bad) + 1} photos"): PhotoStore(folder, crop=32, strict=True)
    result = srgan("upscale", folder, "-o", tmp_path / "out", "--weights", weights)
    assert result.exit_code == 1 and len(result.stderr.strip().splitlines()) == len(bad)
    assert all(sum(f"{name}:" in line for line in result.stderr.splitlines()) == 1 for name in bad)
    assert len(list((tmp_path / "out").iterdir())) == len(good) + 1 # the single pixel too
    assert Image.open(tmp_path / "out/turned.png").size == (280, 400) and Image.open(tmp_path / "out/dot.png").size == (4, 4)
    assert Image.open(tmp_path / "out/alpha.png").mode == "RGBA"
    tally(good_files=len(good) + 1, bad_files=len(bad))


class Bomb:
    "A pickle that writes a file when it is opened."
    def __init__(self, trace): self.trace = trace
    def __reduce__(self): return (open, (self.trace, "w"))


def test_a_cache_whose_pixels_are_gone_is_made_anew(photos, tmp_path):
    before = [pixels.copy() for pixels in PhotoStore(photos, 32, cache=tmp_path / "cache").pixels] # copies: Windows deletes no mapped file
    next((tmp_path / "cache").glob("*.pixels")).unlink()
    after = PhotoStore(photos, 32, cache=tmp_path / "cache")
    assert all(np.array_equal(a, b) for a, b in zip(before, after.pixels)) and len(after) == len(before) > 0


def test_folders_that_look_alike_have_caches_of_their_own(tmp_path):
    "The same names, sizes and times, as an archive that resets times leaves them."
    for folder, colour in dict(dark="black", light="white").items():
        (tmp_path / folder).mkdir()
        Image.new("RGB", (40, 40), colour).save(tmp_path / folder / "a.bmp")
        os.utime(tmp_path / folder / "a.bmp", (0, 0))
    dark, light = (PhotoStore(tmp_path / folder, 32, cache=tmp_path / "cache").pixels[0].max() for folder in ("dark", "light"))
    assert (dark, light) == (0, 255)


def test_processes_of_one_machine_share_the_memory(photos, monkeypatch):
    "Photos that fit into half of what is free once do not fit eight times."
    size = sum(pixels.nbytes for pixels in PhotoStore(photos, 32).pixels)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=4 * size))
    in_memory = lambda: PhotoStore(photos, 32).cache is None
    monkeypatch.setattr("srgan_nb.data.CACHE", photos.parent / "cache")
    assert in_memory()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert not in_memory()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_weights_are_readable_as_the_umask_says(tmp_path):
    save_generator(Generator(1, 4), tmp_path / "new.safetensors")
    (tmp_path / "other").touch()
    assert (tmp_path / "new.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("name, mode, space, kept", [("photo.png", "RGB", "sRGB", True), ("scan.tif", "CMYK", "CMYK", False), ("grey.png", "I;16", "GRAY", True)])
def test_a_profile_goes_along_where_it_fits(tmp_path, name, mode, space, kept):
    "That of a CMYK picture speaks of inks, and the result is RGB."
    picture = Image.fromarray(np.full((8, 8), 2**15, np.uint16)) if mode == "I;16" else Image.new(mode, (8, 8))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if space != "sRGB": profile = profile[:16] + space.encode().ljust(4) + profile[20:]
    picture.save(tmp_path / name, icc_profile=profile)
    for suffix in (".png", ".tif", ".jpg"):
        upscale_file(tmp_path / name, tmp_path / f"large{suffix}", TOY)
        with Image.open(tmp_path / f"large{suffix}") as large: assert large.info.get("icc_profile") == (profile if kept else None)


def test_a_png_that_libvips_cannot_write_is_named_and_the_rest_is_done(srgan, photos, weights, tmp_path, monkeypatch):
    pyvips = pytest.importorskip("pyvips")
    write, failed = pyvips.Image.pngsave, []
    def pngsave(self, target, **options):
        if failed: return write(self, target, **options)
        failed.append(target); raise pyvips.Error("write error", "No space left on device")
    monkeypatch.setattr(pyvips.Image, "pngsave", pngsave, raising=False)
    result = srgan("upscale", photos, "-o", tmp_path / "large", "--weights", weights)
    assert result.exit_code == 1 and "is the disk full?" in result.stderr
    assert len(list((tmp_path / "large").iterdir())) == len(list(photos.iterdir())) - 1


@pytest.mark.parametrize("suffix", ["pt", "pth", "safetensors"])
def test_a_pickle_is_refused_and_not_run(srgan, photos, tmp_path, suffix):
    trace, path = tmp_path / "it ran", tmp_path / f"weights.{suffix}"
    for write in (lambda: path.write_bytes(pickle.dumps(Bomb(str(trace)))), lambda: torch.save(dict(head=Bomb(str(trace))), path)):
        write()
        with pytest.raises(ValueError, match="not a safetensors file"): load_generator(path)
        with pytest.raises(ValueError, match="not a safetensors file"): load_checkpoint(path, CONFIG, torch.device("cpu"))
        assert srgan("upscale", photos, "-o", tmp_path / "out", "--weights", path).exit_code == 1
        assert srgan("train", "--data", photos, "--out", tmp_path / "run", "--preset", "blog", "--vgg", path).exit_code == 1
        assert not trace.exists()


def test_damaged_weights_are_refused(tmp_path, weights):
    "Cut off anywhere, or one bit changed anywhere."
    path, whole, rng, cases = tmp_path / "damaged.safetensors", weights.read_bytes(), random.Random(0), 500 if LONG else 60
    for case in range(cases):
        damaged = bytearray(whole)
        if case % 2: del damaged[rng.randrange(len(whole)):]
        else: damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try: assert same_tensors(path, weights) # then it was a letter of the description
        except ValueError as error: assert str(path) in str(error)
    tally(damaged_weights=cases)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_fuzzed_headers_end_in_a_picture_or_an_error(form):
    buffer = BytesIO(); sample_photos()["coffee"].crop((0, 0, 40, 30)).save(buffer, form)
    whole, rng, cases, opened = buffer.getvalue(), random.Random(form), 1000 if LONG else 120, 0
    for _ in range(cases):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)): data[rng.randrange(min(len(data), 200))] = rng.randrange(256)
        try: assert open_photo(BytesIO(bytes(data))).mode in ("L", "LA", "RGB", "RGBA"); opened += 1
        except ValueError: pass
    tally(**{f"fuzzed_{form.lower()}": cases, f"fuzzed_{form.lower()}_opened": opened})


# Laws

TOY = Upscaler(Generator(1, 4), device="cpu", precision="fp32")


@settings(max_examples=200 if LONG else 25, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), batch=st.integers(1, 3), tile=st.integers(1, 50), seed=st.integers(0, 10**6))
def test_any_size_and_tile_gives_four_times_the_size(height, width, batch, tile, seed):
    torch.manual_seed(seed)
    lr = torch.rand(batch, 3, height, width)
    whole = TOY.upscale(lr)
    TOY.tile = tile
    try: tiled = TOY.upscale(lr)
    finally: TOY.tile = None
    assert whole.shape == tiled.shape == (batch, 3, 4 * height, 4 * width)
    assert whole.isfinite().all() and torch.allclose(whole, tiled, atol=1e-5)


@settings(max_examples=100 if LONG else 15, deadline=None)
@given(width=st.integers(1, 30), height=st.integers(1, 30), mode=st.sampled_from(["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I;16", "I"]))
def test_any_mode_gives_four_times_the_size(width, height, mode):
    large = TOY(Image.new(mode, (width, height)))
    assert large.size == (4 * width, 4 * height) and large.mode in ("L", "LA", "RGB", "RGBA")


@settings(max_examples=100 if LONG else 15, deadline=None)
@given(height=st.integers(4, 12), width=st.integers(4, 12), seed=st.integers(0, 10**6), level=st.floats(0.01, 0.2))
def test_degrade_and_the_metrics_keep_their_laws(height, width, seed, level):
    torch.manual_seed(seed)
    hr = torch.rand(1, 3, 4 * height, 4 * width)
    lr = degrade(hr)
    assert lr.shape == (1, 3, height, width) and 0 <= lr.min() and lr.max() <= 1
    assert torch.equal(lr, degrade(crop_to_multiple(hr))) and torch.equal((lr * 255).round() / 255, lr)
    assert torch.allclose(degrade(torch.full_like(hr, 0.6)), torch.full_like(lr, 0.6), atol=1e-6) # a flat picture stays flat
    noisy, worse = ((hr + k * level * torch.randn_like(hr)).clamp(0, 1) for k in (1, 4))
    options = dict(shave=0)
    assert torch.equal(psnr(hr, noisy, **options), psnr(noisy, hr, **options)) and psnr(hr, worse, **options) < psnr(hr, noisy, **options)
    if min(hr.shape[-2:]) >= 16: assert ssim(hr, hr, **options).item() == pytest.approx(1, abs=1e-4) and -1 <= ssim(hr, noisy, **options) <= 1


# Many at once, and for a long time

def test_several_upscales_at_once_are_all_correct(photos, tmp_path, weights):
    source, count = photos / "coffee.png", 20 if LONG else 3
    upscale_file(source, tmp_path / "expected.png", Upscaler.from_pretrained(weights, device="cpu", precision="fp32"))
    command = [sys.executable, "-m", "srgan_nb.cli", "upscale", source, "--weights", weights, "--device", "cpu", "--precision", "fp32", "-o"]
    running = [subprocess.Popen(list(map(str, [*command, tmp_path / "out" / f"{k}.png"])), stdout=subprocess.DEVNULL, env=os.environ | dict(OMP_NUM_THREADS="1")) for k in range(count)]
    assert [process.wait(600) for process in running] == [0] * count
    expected = np.asarray(Image.open(tmp_path / "expected.png"))
    assert all(np.array_equal(np.asarray(Image.open(tmp_path / "out" / f"{k}.png")), expected) for k in range(count))
    tally(upscales_at_once=count)


@pytest.mark.skipif(not LONG, reason="the long part: set SRGAN_LONG")
def test_memory_and_open_files_do_not_grow(photos, tmp_path):
    "2,000 steps of TINY, measured every 100: the last against step 200."
    process, seen = psutil.Process(), []
    measure = lambda run, stage, step: seen.append((process.memory_info().rss / 2**20, process.num_fds() if hasattr(process, "num_fds") else 0))
    train(replace(TINY, srresnet=Stage(2000), srgan=Stage(), save_every=100), photos, tmp_path / "run", on_save=measure, **HERE)
    memory, files = zip(*seen)
    tally(long_run_steps=2000, long_run_mib=[round(mib) for mib in memory])
    assert memory[-1] < 1.02 * memory[1] + 5 and files[-1] == files[1]
