"Clips in batches and in parts: the same frames, and what was stopped goes on."
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from srgan_nb import media
from srgan_nb.generator import Generator
from srgan_nb.inference import Upscaler
from srgan_nb.media import upscale_video
from srgan_nb.weights import load_generator

from conftest import CPU_FP32

FRAMES = 13 # in parts of 4, 4 and 5: a part of 1 would be too short


class Counted(Upscaler):
    "Counts the frames it upscales, and stops before they are more than `limit`."
    frames, limit = 0, math.inf

    def upscale(self, lr):
        if self.frames + len(lr) > self.limit: raise KeyboardInterrupt
        self.frames += len(lr)
        return super().upscale(lr)


def counted(weights, limit=math.inf):
    upscaler = Counted(load_generator(weights), **CPU_FP32)
    upscaler.limit = limit
    return upscaler


@pytest.fixture
def clip(tmp_path, monkeypatch):
    "A clip of moving colours, with a tone."
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    monkeypatch.setattr(media, "PART_FRAMES", 4)
    seconds = FRAMES / 10
    inputs = ("-f", "lavfi", "-i", f"testsrc=s=32x24:r=10:d={seconds}", "-f", "lavfi", "-i", f"sine=440:d={seconds}")
    subprocess.run([ffmpeg, "-v", "error", *inputs, tmp_path / "clip.mp4"], check=True)
    return tmp_path / "clip.mp4"


def contents(path):
    "The time, length and decoded bytes (as a digest) of each frame and piece of sound."
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    command = [ffmpeg, "-v", "error", "-i", path, "-fps_mode", "passthrough", "-f", "framemd5", "-"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def stop(clip, target, weights):
    "Upscale two parts and a bit."
    with pytest.raises(KeyboardInterrupt): upscale_video(clip, target, counted(weights, limit=9))
    assert not target.exists()
    assert len(list(target.parent.iterdir())) == 1 # the parts


class Doubler:
    "Makes four pixels of each, exactly on any machine, and notes the sizes of batches."
    def __init__(self): self.batches = []

    def upscale(self, lr):
        self.batches.append(len(lr))
        return lr.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_frames_in_batches_are_those_of_single_frames(monkeypatch):
    monkeypatch.setattr(media, "BATCH_PIXELS", 2 * 32 * 24)
    frames = np.random.default_rng(0).integers(0, 256, (5, 24, 32, 3), dtype=np.uint8)
    given = [frame.tobytes() for frame in frames]

    def upscaled(groups, upscaler): # by each call of `_upscale_frames`
        return np.stack([sr for group in groups for sr in media._upscale_frames(iter(group), (32, 24), upscaler)])

    doubler = Doubler()
    assert np.array_equal(upscaled([given], doubler), frames.repeat(2, 1).repeat(2, 2))
    assert doubler.batches == [2, 2, 1]
    torch.manual_seed(0)
    network = Upscaler(Generator(1, 4), **CPU_FP32)
    together, singly = upscaled([given], network), upscaled([[frame] for frame in given], network)
    assert np.abs(together.astype(int) - singly).max() <= 1 # a convolution may sum in another order


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "avi"])
def test_a_stopped_clip_goes_on(clip, tmp_path, weights, suffix):
    "It is the clip that a call without a stop makes, in times, frames and sound. Nothing else is left."
    upscale_video(clip, tmp_path / f"whole.{suffix}", counted(weights))
    folder = tmp_path / ("what's #1? 100%d" if os.name == "posix" else "new")
    stop(clip, folder / f"large.{suffix}", weights)
    rest = counted(weights)
    upscale_video(clip, folder / f"large.{suffix}", rest)
    assert rest.frames == FRAMES - 8
    assert contents(folder / f"large.{suffix}") == contents(tmp_path / f"whole.{suffix}")
    assert [path.name for path in folder.iterdir()] == [f"large.{suffix}"]


@pytest.mark.slow
def test_parts_keep_the_times_of_a_clip_in_one_piece(clip, tmp_path, weights, monkeypatch):
    upscale_video(clip, tmp_path / "parts.mp4", counted(weights))
    monkeypatch.setattr(media, "PART_FRAMES", 120)
    upscale_video(clip, tmp_path / "piece.mp4", counted(weights))
    times = [[line.rpartition(",")[0] for line in contents(tmp_path / name)] for name in ("parts.mp4", "piece.mp4")]
    assert times[0] == times[1]


@pytest.mark.slow
@pytest.mark.parametrize("change", ["quality", "source", "network"])
def test_a_clip_of_something_else_begins_anew(clip, tmp_path, weights, change):
    target = tmp_path / "new/large.mp4"
    stop(clip, target, weights)
    if change == "source": os.utime(clip, (0, 0))
    upscaler = counted(weights)
    if change == "network": upscaler.generator.tail.bias.data += 0.1
    upscale_video(clip, target, upscaler, quality=50 if change == "quality" else 95)
    assert upscaler.frames == FRAMES
    assert [path.name for path in target.parent.iterdir()] == ["large.mp4"]


@pytest.mark.slow
def test_a_second_call_is_refused_while_the_first_writes(clip, tmp_path, weights):
    target = tmp_path / "new/large.mp4"

    class Twice(Upscaler):
        def upscale(self, lr):
            with pytest.raises(ValueError, match="large.mp4: another process"):
                upscale_video(clip, target, counted(weights), quality=50)
            return super().upscale(lr)

    upscale_video(clip, target, Twice(load_generator(weights), **CPU_FP32))
    upscale_video(clip, tmp_path / "whole.mp4", counted(weights))
    assert contents(target) == contents(tmp_path / "whole.mp4")


KILLED = """
import os, signal, sys
from srgan_nb import media
from srgan_nb.inference import Upscaler
from srgan_nb.weights import load_generator

class Killed(Upscaler):
    calls = 0
    def upscale(self, lr):
        self.calls += 1
        if self.calls == 3: os.kill(os.getpid(), signal.SIGKILL)
        return super().upscale(lr)

media.PART_FRAMES = 4
clip, target, weights = sys.argv[1:]
media.upscale_video(clip, target, Killed(load_generator(weights), device="cpu", precision="fp32"))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_clip_goes_on(clip, tmp_path, weights):
    target = tmp_path / "new/large.mp4"
    done = subprocess.run([sys.executable, "-c", KILLED, clip, target, weights], capture_output=True)
    assert done.returncode == -9, done.stderr
    rest = counted(weights)
    upscale_video(clip, target, rest)
    assert rest.frames == FRAMES - 8
    assert [path.name for path in target.parent.iterdir()] == ["large.mp4"]
