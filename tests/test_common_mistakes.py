"Mistakes that other SRGAN projects shipped. Each test shows that this project does not make one of them."
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

import srgan_nb
from srgan_nb.checkpoint import list_checkpoints, new_state
from srgan_nb.config import PAPER, Stage
from srgan_nb.data import PhotoStore, crop_batch, draw_crops, make_pair, sample_photos
from srgan_nb.discriminator import Discriminator
from srgan_nb.generator import Generator
from srgan_nb.inference import Upscaler
from srgan_nb.losses import pixel_loss
from srgan_nb.metrics import lpips, luminance, psnr
from srgan_nb.steps import content_loss, gan_loss, srgan_step, update_ema
from srgan_nb.training import train
from srgan_nb.utils import to_8bit, to_signed, to_unit
from srgan_nb.vgg import VGGFeatures
from srgan_nb.weights import load_generator, save_generator

from conftest import CPU_FP32, tiny_config

SMALL_PAPER = replace(PAPER, n_blocks=1, channels=8, d_channels=4, phi=(2, 2))
CONFIG = tiny_config(srresnet=Stage(3), srgan=Stage(3), batch=2, save_every=3)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    lr = torch.rand(2, 3, 24, 24, generator=generator)
    hr = 2 * torch.rand(2, 3, 96, 96, generator=generator) - 1
    return lr, hr


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(CONFIG, sample_photos(), tmp_path_factory.mktemp("runs") / "run", **CPU_FP32)


@pytest.fixture
def checkpoint(run):
    "The run's newest checkpoint, opened."
    with safe_open(list_checkpoints(run)[0], "pt") as file:
        yield file


def train_one_step(accelerator, batch, adversarial_weight):
    state = new_state(SMALL_PAPER, "srgan", 0, accelerator.device)
    config = replace(SMALL_PAPER, adversarial_weight=adversarial_weight)
    gan = gan_loss(config, VGGFeatures(2, 2, weights=None))
    g, d = state.g.train(), state.d.train()
    srgan_step(g, d, state.g_opt, state.d_opt, *batch, gan)
    return state


def test_content_loss_is_not_detached(accelerator, batch):
    "If the adversarial weight is zero, G can only get a gradient through VGG, and it does."
    state = train_one_step(accelerator, batch, adversarial_weight=0.)
    assert all(p.grad.abs().sum() > 0 for p in state.g.tail.parameters())


def test_vgg_and_d_are_frozen_in_the_turn_of_g(accelerator, batch):
    "After a whole step D's gradients are those of D's turn: the adversarial weight makes no difference to them."
    without, with_large_weight = (train_one_step(accelerator, batch, weight).d for weight in (0., 1000.))
    for a, b in zip(without.parameters(), with_large_weight.parameters()):
        assert torch.equal(a.grad, b.grad)
    _, hr = batch
    vgg = VGGFeatures(2, 2, weights=None)
    content_loss(SMALL_PAPER, vgg)(hr.clone().requires_grad_(), hr).backward()
    assert all(p.grad is None and not p.requires_grad for p in vgg.parameters())


def test_ema_is_not_swapped():
    "The average moves towards the model. The model does not move."
    average, model = nn.Linear(2, 2), nn.Linear(2, 2)
    weight, distance = model.weight.clone(), (average.weight - model.weight).norm()
    update_ema(average, model, decay=0.9, step=10_000)
    assert torch.equal(model.weight, weight)
    assert torch.isclose((average.weight - model.weight).norm(), 0.9 * distance)


def test_saved_generator_is_the_average(run, checkpoint):
    saved = load_generator(run).tail.weight
    assert torch.equal(saved, checkpoint.get_tensor("ema.tail.weight"))
    assert not torch.equal(saved, checkpoint.get_tensor("g.tail.weight"))


def test_g_and_d_do_not_overwrite_each_other(checkpoint):
    keys = set(checkpoint.keys())
    assert {f"g.{key}" for key in Generator(1, 8).state_dict()} <= keys
    assert {f"d.{key}" for key in Discriminator(4).state_dict()} <= keys


def test_checkpoint_has_everything_a_resumed_run_needs(checkpoint):
    keys = set(checkpoint.keys())
    assert {"ema.tail.weight", "g.merge.1.running_var"} <= keys
    assert {"g_opt.0.exp_avg", "g_opt.0.step", "d_opt.0.exp_avg_sq"} <= keys
    assert "rng" in keys
    about = checkpoint.metadata()
    assert about["step"] == "3"
    assert about["stage"] == "srgan"
    assert '"schedule"' in about["config"]


def test_output_is_not_clamped_in_training():
    "If G's output exceeds the range, it still gets a gradient that pulls it back."
    torch.manual_seed(0)
    g = Generator(1, 8)
    with torch.no_grad():
        g.tail.bias.fill_(3.)
    sr = g(torch.rand(1, 3, 8, 8))
    assert sr.min() > 1
    pixel_loss(sr, torch.zeros_like(sr)).backward()
    assert g.tail.bias.grad.min() > 0


def test_crops_and_flips_differ_within_a_batch():
    crops = draw_crops(np.full((16, 2), 200), 16, 96, seed=0, step=0)
    corners, flips = crops[:, 1:3], crops[:, 3]
    assert len(np.unique(corners, axis=0)) > 8
    assert len(set(flips)) > 3


@pytest.mark.parametrize("network, x", [
    (Generator(1, 8), torch.rand(2, 3, 12, 12)),
    (Discriminator(4), torch.rand(2, 3, 96, 96)),
])
def test_networks_work_in_channels_last(network, x):
    network = network.eval()
    plain = network(x)
    channels_last = network.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert torch.allclose(plain, channels_last, atol=1e-5)
    channels_last.sum().backward()


def test_a_photo_exactly_as_large_as_the_crop_can_be_used():
    store = PhotoStore(dict(exact=sample_photos()["coffee"].crop((0, 0, 96, 200))), crop=96)
    assert crop_batch(store, 2, seed=0, step=0).shape == (2, 3, 96, 96)


def test_pictures_are_rounded_before_they_are_measured():
    "An error of 0.4 levels vanishes, one of 0.6 levels does not."
    hr = torch.full((1, 3, 16, 16), 100 / 255)
    assert psnr(hr + 0.4 / 255, hr).isinf().all()
    assert psnr(hr + 0.6 / 255, hr).isfinite().all()


def test_nothing_is_pickled(run):
    "No file of a run is a pickle, and no line of the package writes or reads one, but for the numbers of DISTS."
    for file in run.rglob("*.safetensors"):
        assert file.read_bytes()[8:10] == b'{"'
    package = Path(srgan_nb.__file__).parent
    source = "\n".join(path.read_text(encoding="utf-8") for path in package.glob("*.py"))
    assert not re.search(r"torch\.save\(|torch\.load\((?!.*weights_only=True)|import pickle", source)


def test_inference_runs_without_autograd():
    generator, modes = Generator(1, 8), []
    generator.tail.register_forward_hook(lambda *_: modes.append(torch.is_grad_enabled()))
    sr = Upscaler(generator, device="cpu").upscale(torch.rand(1, 3, 8, 8))
    assert modes == [False]
    assert sr.grad_fn is None
    assert not sr.requires_grad


def test_integers_are_refused_where_floats_are_expected():
    "255 divided by 255 twice is black; 200 doubled in 8 bits is 144."
    levels = torch.full((1, 3, 16, 16), 200, dtype=torch.uint8)
    for function in (to_signed, to_unit, to_8bit, luminance):
        with pytest.raises(ValueError, match="floats"):
            function(levels)
    with pytest.raises(ValueError, match="uint8"):
        make_pair(levels / 255)


def test_a_compiled_generator_is_saved_under_its_own_names(tmp_path):
    g = Generator(1, 4)
    save_generator(torch.compile(g), tmp_path / "g.safetensors")
    loaded = load_generator(tmp_path / "g.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), g.parameters()))


@pytest.mark.parametrize("metric, shave, message", [
    (psnr, -1, "cannot be dropped"),
    (psnr, 14, "cannot be dropped"),
    (lpips, 4, "at least 31 x 31"),
])
def test_metrics_refuse_what_they_cannot_measure(metric, shave, message):
    x = torch.rand(1, 3, 28, 28)
    with pytest.raises(ValueError, match=message):
        metric(x, x, shave=shave)


def test_metrics_do_not_mix_the_pictures_of_a_batch():
    "A batch's PSNR is that of each picture alone, so the mean over pictures comes last."
    hr = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    sr = (hr + torch.tensor([0.01, 0.2]).view(2, 1, 1, 1)).clamp(0, 1)
    each = torch.cat([psnr(a[None], b[None]) for a, b in zip(sr, hr)])
    assert torch.allclose(psnr(sr, hr), each)
