"Bugs that other SRGAN projects shipped, each shown to be absent here."
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

import srgan_nb
from srgan_nb.data import PhotoStore, crop_batch, draw_crops, make_pair, sample_photos
from srgan_nb.discriminator import Discriminator
from srgan_nb.generator import Generator, load_generator, save_generator
from srgan_nb.inference import Upscaler
from srgan_nb.losses import pixel_loss
from srgan_nb.metrics import lpips, luminance, psnr
from srgan_nb.training import PAPER, TINY, Stage, checkpoints, content_loss, make_accelerator, new_state, srgan_step, train, update_ema
from srgan_nb.utils import to_8bit, to_signed, to_unit
from srgan_nb.vgg import VGGFeatures

SMALL = replace(PAPER, n_blocks=1, channels=8, d_channels=4, phi=(2, 2))
MINI = replace(TINY, srresnet=Stage(3), srgan=Stage(3), n_blocks=1, channels=8, d_channels=4, crop=32, batch=2, save_every=3)


@pytest.fixture
def accelerator(): return make_accelerator("cpu", "fp32")


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 24, 24, generator=generator), 2 * torch.rand(2, 3, 96, 96, generator=generator) - 1


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(MINI, sample_photos(), tmp_path_factory.mktemp("runs") / "run", device="cpu", precision="fp32")


def one_step(accelerator, batch, adversarial_weight):
    state = new_state(SMALL, "srgan", 0, accelerator.device)
    srgan_step(accelerator, state.g.train(), state.d.train(), state.g_opt, state.d_opt, *batch, content_loss(SMALL, VGGFeatures(2, 2, weights=None)), weight=adversarial_weight)
    return state


def test_content_loss_is_not_detached(accelerator, batch):
    "With the adversary's weight at zero, G still gets a gradient: it can only come through VGG."
    assert all(p.grad.abs().sum() > 0 for p in one_step(accelerator, batch, 0.).g.tail.parameters())


def test_vgg_and_d_are_frozen_in_g_s_turn(accelerator, batch):
    "D's gradients after a whole step are those of its own turn: they do not depend on how much G wants from it."
    quiet, loud = (one_step(accelerator, batch, weight).d for weight in (0., 1000.))
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(quiet.parameters(), loud.parameters()))
    vgg = VGGFeatures(2, 2, weights=None)
    content_loss(SMALL, vgg)(batch[1].clone().requires_grad_(), batch[1]).backward()
    assert all(p.grad is None and not p.requires_grad for p in vgg.parameters())


def test_ema_is_not_swapped():
    "The average moves towards the model; the model does not move."
    average, model = nn.Linear(2, 2), nn.Linear(2, 2)
    weight, distance = model.weight.clone(), (average.weight - model.weight).norm()
    update_ema(average, model, decay=0.9, step=10_000)
    assert torch.equal(model.weight, weight)
    assert torch.isclose((average.weight - model.weight).norm(), 0.9 * distance)


def test_what_ships_is_the_average_and_not_the_model(run):
    with safe_open(checkpoints(run)[0], "pt") as file: g, ema = (file.get_tensor(f"{name}.tail.weight") for name in ("g", "ema"))
    saved = load_generator(run).tail.weight
    assert torch.equal(saved, ema) and not torch.equal(saved, g)


def test_g_and_d_do_not_overwrite_each_other(run):
    with safe_open(checkpoints(run)[0], "pt") as file: keys = set(file.keys())
    assert {f"g.{key}" for key in Generator(1, 8).state_dict()} <= keys
    assert {f"d.{key}" for key in Discriminator(4).state_dict()} <= keys


def test_checkpoint_has_everything_a_resumed_run_needs(run):
    with safe_open(checkpoints(run)[0], "pt") as file: keys, about = set(file.keys()), file.metadata()
    assert {"ema.tail.weight", "g_opt.0.exp_avg", "d_opt.0.exp_avg_sq", "g_opt.0.step", "rng", "g.merge.1.running_var"} <= keys
    assert about["step"] == "3" and about["stage"] == "srgan" and '"schedule"' in about["config"]


def test_output_is_not_clamped_in_training():
    "Where G overshoots, the gradient still says so."
    torch.manual_seed(0)
    g = Generator(1, 8)
    with torch.no_grad(): g.tail.bias.fill_(3.)
    sr = g(torch.rand(1, 3, 8, 8))
    assert sr.min() > 1
    pixel_loss(sr, torch.zeros_like(sr)).backward()
    assert g.tail.bias.grad.min() > 0


def test_crops_and_flips_differ_within_a_batch():
    plan = draw_crops(np.full((16, 2), 200), 16, 96, seed=0, step=0)
    assert len(np.unique(plan[:, 1:3], axis=0)) > 8 and len(set(plan[:, 3])) > 3


@pytest.mark.parametrize("network, x", [(Generator(1, 8), torch.rand(2, 3, 12, 12)), (Discriminator(4), torch.rand(2, 3, 96, 96))])
def test_channels_last(network, x):
    network = network.eval()
    plain = network(x)
    fast = network.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert torch.allclose(plain, fast, atol=1e-5)
    fast.sum().backward()


def test_photo_exactly_as_large_as_the_crop():
    store = PhotoStore(dict(exact=sample_photos()["coffee"].crop((0, 0, 96, 200))), crop=96)
    assert crop_batch(store, 2, seed=0, step=0).shape == (2, 3, 96, 96)


def test_pictures_are_rounded_before_they_are_measured():
    hr = torch.full((1, 3, 16, 16), 100 / 255)
    assert psnr(hr + 0.4 / 255, hr).isinf().all() and psnr(hr + 0.6 / 255, hr).isfinite().all()


def test_nothing_is_pickled(run):
    "No file of a run is a pickle, and no line of the package makes or reads one."
    for file in run.rglob("*.safetensors"): assert file.read_bytes()[8:10] == b'{"'
    source = "\n".join(path.read_text(encoding="utf-8") for path in Path(srgan_nb.__file__).parent.glob("*.py"))
    assert not re.search(r"torch\.(save|load)\(|import pickle", source)


def test_inference_runs_without_autograd():
    generator, seen = Generator(1, 8), []
    generator.tail.register_forward_hook(lambda *_: seen.append(torch.is_inference_mode_enabled()))
    sr = Upscaler(generator, device="cpu").upscale(torch.rand(1, 3, 8, 8))
    assert seen == [True] and sr.grad_fn is None and not sr.requires_grad


def test_whole_numbers_are_refused_where_floats_are_meant():
    "255 divided by 255 twice is black; 200 doubled in 8 bits is 144."
    levels = torch.full((1, 3, 16, 16), 200, dtype=torch.uint8)
    for function in (to_signed, to_unit, to_8bit, luminance):
        with pytest.raises(ValueError, match="floats"): function(levels)
    with pytest.raises(ValueError, match="uint8"): make_pair(levels / 255)


def test_a_compiled_generator_is_saved_under_its_own_names(tmp_path):
    save_generator(torch.compile(g := Generator(1, 4)), tmp_path / "g.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(load_generator(tmp_path / "g.safetensors").parameters(), g.parameters()))


@pytest.mark.parametrize("measure, shave, words", [(psnr, -1, "cannot be dropped"), (psnr, 14, "cannot be dropped"), (lpips, 4, "at least 21")])
def test_metrics_refuse_what_they_cannot_measure(measure, shave, words):
    x = torch.rand(1, 3, 28, 28)
    with pytest.raises(ValueError, match=words): measure(x, x, shave=shave)


def test_metrics_are_averaged_over_pictures_last():
    hr = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    sr = (hr + torch.tensor([0.01, 0.2]).view(2, 1, 1, 1)).clamp(0, 1)
    each = torch.cat([psnr(a[None], b[None]) for a, b in zip(sr, hr)])
    assert torch.allclose(psnr(sr, hr), each)
