"Clips in batches: the same frames."
import numpy as np
import torch

from srgan_nb import media
from srgan_nb.generator import Generator
from srgan_nb.inference import Upscaler

from conftest import CPU_FP32


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
