"The package inside other people's programs: what goes in, what comes out, and nothing else changes."
import copy
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from srgan_nb.fast_tail import FastGenerator, TailConv, use_fast_tail
from srgan_nb.generator import Generator
from srgan_nb.inference import Upscaler
from srgan_nb.utils import open_photo, progress

from conftest import CPU_FP32


def random_pictures(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def upscaler():
    torch.manual_seed(0)
    return Upscaler(Generator(1, 4), **CPU_FP32)


def work(upscaler, *batches):
    "Pixels that go through the features and through `render`, counted by hooks on layers."
    counts = dict(head=0, render=0)

    def count(name):
        def hook(layer, inputs, output):
            n, _, height, width = output.shape
            counts[name] += n * height * width
        return hook

    layers = dict(head=upscaler.generator.head[0], render=upscaler.generator.upsample[0][0])
    hooks = [layer.register_forward_hook(count(name)) for name, layer in layers.items()]
    for batch in batches:
        upscaler.upscale(batch)
    for hook in hooks:
        hook.remove()
    return counts


@pytest.mark.parametrize("n, side", [(17, 110), (32, 128), (3, 470), (100, 8), (2, 3)])
def test_a_batch_takes_no_more_work_than_a_loop(upscaler, n, side):
    "It is cut into smaller batches, not into smaller tiles."
    batch = random_pictures(n, 3, side, side)
    assert work(upscaler, batch) == work(upscaler, *batch.split(1))


def test_a_batch_has_the_results_of_a_loop(upscaler):
    for shape in [(17, 3, 110, 110), (2, 3, 30, 9000)]:
        batch = random_pictures(*shape)
        loop = torch.cat([upscaler.upscale(each) for each in batch.split(1)])
        assert (upscaler.upscale(batch) - loop).abs().max() < 1e-6


@pytest.mark.parametrize("tile", [None, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_results_are_ordinary_tensors(tile, dtype):
    "Of one tile or several: they can be changed, and take part in a loss."
    upscaler = Upscaler(Generator(1, 4), **CPU_FP32, tile=tile)
    lr = random_pictures(1, 3, 20, 20).to(dtype).requires_grad_()
    sr = upscaler.upscale(lr)
    assert not sr.is_inference() and not sr.requires_grad
    sr.mul_(1)
    layer = nn.Conv2d(3, 1, 1)
    layer(sr.float()).sum().backward()
    assert layer.weight.grad is not None and lr.grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8])
def test_answers_have_the_type_of_the_picture(upscaler, dtype):
    levels = (random_pictures(2, 3, 12, 9) * 255).byte()
    lr = levels if dtype == torch.uint8 else (levels / 255).to(dtype)
    sr = upscaler.upscale(lr)
    assert (sr.dtype, sr.device, sr.shape) == (dtype, lr.device, (2, 3, 48, 36))
    exact = upscaler.upscale((lr / 255 if dtype == torch.uint8 else lr).float())
    found = sr.float() / 255 if dtype == torch.uint8 else sr.float()
    assert (found - exact).abs().max() < 1 / 250


@pytest.mark.parametrize("wrong, message", [
    (random_pictures(1, 3, 5, 5) * 255, "divide levels by 255"),
    (random_pictures(1, 3, 5, 5) * 2 - 1, r"numbers in \[0, 1\], got -"),
    (torch.full((1, 3, 5, 5), float("nan")), "got nan to nan"),
    (torch.zeros(1, 3, 5, 5, dtype=torch.int64), "not torch.int64"),
    (np.zeros((5, 5, 3), np.uint8), "got ndarray; call the upscaler itself"),
])
def test_other_tensors_get_a_sentence(upscaler, wrong, message):
    with pytest.raises(ValueError, match=message):
        upscaler.upscale(wrong)


def test_arrays_come_back_as_arrays(upscaler):
    pixels = (random_pictures(7, 9, 3) * 255).byte().numpy()
    large = upscaler(pixels)
    assert (type(large), large.shape, large.dtype) == (np.ndarray, (28, 36, 3), np.uint8)
    assert (large == np.asarray(upscaler(Image.fromarray(pixels)))).all()
    assert (upscaler(pixels[..., ::-1]) == np.asarray(upscaler(Image.fromarray(pixels[..., ::-1].copy())))).all()
    for wrong in (pixels / 255, pixels[..., 0], pixels.transpose(2, 0, 1), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"an array \(H, W, 3\) of uint8, RGB, got"):
            upscaler(wrong)


def test_an_upscaler_says_what_it_is_and_moves(upscaler):
    assert upscaler.device == torch.device("cpu") and isinstance(upscaler.generator, Generator)
    text = repr(upscaler)
    assert text == "Upscaler(Generator(n_blocks=1, channels=4, scale=4), device='cpu', precision=torch.float32)"
    assert upscaler.to("cpu:0", torch.bfloat16) is upscaler
    assert (upscaler.device, upscaler.dtype) == (torch.device("cpu:0"), torch.bfloat16)
    assert upscaler.to(torch.device("cpu")).dtype == torch.bfloat16
    assert upscaler.to("fp32").dtype == torch.float32
    wrongs = {"cpu:9": "numbered from 0", "tpu": "not one of auto", torch.float16: "not one of auto"}
    for wrong, message in wrongs.items():
        with pytest.raises(ValueError, match=message):
            upscaler.to(wrong)
    assert Upscaler(Generator(1, 4), torch.device("cpu"), torch.float32).dtype == torch.float32


class Brighter(Generator):
    def forward(self, lr):
        return super().forward(lr) + 0.5


class BrighterTail(Generator):
    def render(self, maps):
        return super().render(maps) + 0.5


def test_a_forward_that_tiles_would_pass_by_is_refused(upscaler):
    with pytest.raises(ValueError, match="Brighter has a `forward` of its own"):
        Upscaler(Brighter(1, 4), **CPU_FP32)
    patched = Generator(1, 4)
    patched.forward = lambda lr: lr
    with pytest.raises(ValueError, match="a `forward` of its own"):
        Upscaler(patched, **CPU_FP32)
    lr = random_pictures(1, 3, 6, 6)
    handle = upscaler.generator.register_forward_hook(lambda *_: None) # after the upscaler was made
    with pytest.raises(ValueError, match="hooks on `forward`"):
        upscaler.upscale(lr)
    handle.remove()
    plain = upscaler.upscale(lr)
    changed = BrighterTail(1, 4)
    changed.load_state_dict(upscaler.generator.state_dict())
    assert not torch.equal(Upscaler(changed, **CPU_FP32).upscale(lr), plain)


def note(seen, name, layer, inputs, output):
    seen[name] = output.shape


def test_hooks_on_every_layer_run():
    "Those that the fast tail would skip, too, whether they were there before or come later."
    lr = random_pictures(1, 3, 6, 6)
    for when in ("before", "later"):
        torch.manual_seed(0)
        generator = Generator(1, 4)
        expected = Upscaler(copy.deepcopy(generator), **CPU_FP32).upscale(lr)
        upscaler = Upscaler(generator, **CPU_FP32) if when == "later" else None
        layers = {name: layer for name, layer in generator.named_modules() if name}
        seen = {}
        for name, layer in layers.items():
            layer.register_forward_hook(partial(note, seen, name))
        upscaler = upscaler or Upscaler(generator, **CPU_FP32)
        assert (upscaler.upscale(lr) - expected).abs().max() < 1e-5
        assert set(seen) == set(layers)
        assert seen["upsample.1.1"] == (1, 4, 24, 24) # after the last shuffle


def test_a_layer_of_your_own_is_not_replaced_by_the_fast_tail():
    class Doubled(nn.Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    generator = Generator(1, 4)
    generator.tail = Doubled(4, 3, 9, padding=4)
    assert type(use_fast_tail(generator)) is Generator and type(generator.tail) is Doubled
    plain = use_fast_tail(Generator(1, 4))
    assert (type(plain), type(plain.tail)) == (FastGenerator, TailConv)


def test_an_outer_autocast_changes_nothing(upscaler):
    lr = random_pictures(1, 3, 9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        inside = upscaler.upscale(lr)
    assert torch.equal(inside, upscaler.upscale(lr))


def test_a_home_folder_is_found(tmp_path, monkeypatch, weights):
    "`~` in a path that Python gets is as in a shell."
    from srgan_nb.files import atomic_path, read_tensors
    from srgan_nb.media import upscale_file
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    Image.new("RGB", (5, 4)).save(tmp_path / "a.png")
    upscaler = Upscaler.from_pretrained(f"~/{weights.name}", **CPU_FP32)
    assert open_photo("~/a.png").size == (5, 4)
    upscale_file("~/a.png", "~/b.png", upscaler)
    assert upscaler("~/b.png").size == (80, 64)
    with atomic_path("~/c.txt") as file:
        file.write_text("c", encoding="utf-8")
    assert (tmp_path / "c.txt").exists() and read_tensors(f"~/{weights.name}", "generator")


NO_COMPILER = """
import torch
from srgan_nb.generator import Generator
from srgan_nb.inference import Upscaler
upscaler = Upscaler(Generator(1, 4), device="cpu", precision="fp32", compile=True)
try: upscaler.upscale(torch.rand(1, 3, 8, 8))
except ValueError as error: print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there, another variable names the compiler")
def test_a_missing_compiler_is_one_sentence(tmp_path):
    absent = dict(CXX=str(tmp_path / "absent"), TORCHINDUCTOR_CACHE_DIR=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", NO_COMPILER], capture_output=True, text=True, env=os.environ | absent)
    assert done.stdout.startswith("the network can't be compiled here: ") and done.stdout.count("\n") == 1


def test_no_console_is_no_error(monkeypatch, upscaler):
    "Programs without a console have no standard streams."
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "stdout", None)
    assert list(progress([1, 2])) == [1, 2]
    assert upscaler(Image.new("RGB", (5, 4))).size == (20, 16)


def test_a_disk_without_modes_is_no_error(tmp_path, monkeypatch, weights):
    from srgan_nb.files import atomic_path
    from srgan_nb.weights import load_generator, save_generator

    def refuse(*_, **__):
        raise PermissionError("operation not permitted")

    monkeypatch.setattr("os.chmod", refuse)
    monkeypatch.setattr("pathlib.Path.chmod", refuse)
    for _ in range(2):
        with atomic_path(tmp_path / "g.safetensors") as temporary:
            save_generator(load_generator(weights), temporary)
    load_generator(tmp_path / "g.safetensors")
