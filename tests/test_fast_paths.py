"The fast paths change no number: each is compared with a textbook implementation."
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from srgan_nb import inference
from srgan_nb.checkpoint import new_state
from srgan_nb.config import PAPER
from srgan_nb.data import degrade, sample_photos
from srgan_nb.devices import pick_precision
from srgan_nb.discriminator import Discriminator
from srgan_nb.fast_tail import FastGenerator, use_fast_tail
from srgan_nb.generator import Generator
from srgan_nb.inference import Upscaler
from srgan_nb.metrics import colour_shift, psnr
from srgan_nb.steps import gan_loss, srgan_step, srresnet_step
from srgan_nb.training import robust_update
from srgan_nb.utils import photo_to_tensor, to_signed, to_unit
from srgan_nb.weights import load_generator

from conftest import CPU_FP32, loud_vgg
from textbook import DrawnGenerator


@pytest.fixture
def update(accelerator):
    "The update of a run: no clipping, one slice."
    return partial(robust_update, accelerator, 0., 1)


@pytest.fixture(scope="module")
def batch():
    "LR and HR in float64, so that only a mistake can make a visible difference."
    torch.manual_seed(0)
    lr = torch.rand(2, 3, 24, 24, dtype=torch.float64)
    hr = torch.rand(2, 3, 96, 96, dtype=torch.float64) * 2 - 1
    return lr, hr


def textbook_copy(generator) -> DrawnGenerator:
    "The same parameters, computed as Fig. 4 draws them, in NCHW."
    copy = DrawnGenerator(**generator.architecture).to(generator.tail.weight.dtype)
    copy.load_state_dict(generator.state_dict())
    return copy.train(generator.training)


def gradients(model) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def nearly_equal(ours, theirs) -> bool:
    "Equal up to rounding: the steps compute their losses in float32. Relative to the norm of the whole vector."
    return (ours - theirs).norm() < 1e-5 * theirs.norm()


def test_generator_computes_what_the_figure_shows(batch):
    lr, _ = batch
    generator = load_generator("srresnet").double().to(memory_format=torch.channels_last)
    with torch.no_grad():
        assert (generator(lr) - textbook_copy(generator)(lr)).abs().max() < 1e-10


def test_srresnet_step_has_the_textbook_gradients(batch, update):
    lr, hr = batch
    state = new_state(PAPER, "srresnet", 0, torch.device("cpu"))
    state.g.double()
    textbook = textbook_copy(state.g.train())
    loss = F.mse_loss(textbook(lr), hr)
    loss.backward()
    ours = srresnet_step(use_fast_tail(state.g), state.g_opt, lr, hr, update)
    assert torch.isclose(ours["g_loss"].double(), loss, rtol=1e-5)
    assert nearly_equal(gradients(state.g), gradients(textbook))


@pytest.mark.slow
def test_srgan_step_has_the_textbook_gradients(batch, update):
    "The textbook freezes and shares nothing: D's turn, then G's, each with its own forward pass."
    lr, hr = batch
    state = new_state(PAPER, "srgan", 0, torch.device("cpu"))
    vgg = loud_vgg(5, 4)
    bce = F.binary_cross_entropy_with_logits
    real, fake = (torch.full((2, 1), value, dtype=torch.float64) for value in (1, 0))

    def features(x):
        return vgg((x + 1) / 2) / 12.75

    # the textbook's turn of D
    g, d = textbook_copy(state.g.double().train()), Discriminator().double()
    d.load_state_dict(state.d.double().state_dict())
    d_opt = torch.optim.Adam(d.parameters(), lr=1e-4)
    d_loss = bce(d(hr), real) + bce(d(g(lr).detach()), fake)
    d_loss.backward()
    d_gradients = gradients(d)
    d_opt.step()

    # the textbook's turn of G, with a fresh copy whose BatchNorm has not seen a batch yet
    g = textbook_copy(state.g)
    sr = g(lr)
    g_loss = F.mse_loss(features(sr), features(hr)) + 1e-3 * bce(d(sr), real)
    g_loss.backward()
    textbook_gradients = gradients(g)

    for group in state.d_opt.param_groups + state.g_opt.param_groups:
        group["lr"] = 1e-4
    gan = gan_loss(PAPER, vgg)
    g, d = use_fast_tail(state.g), state.d.train()
    ours = srgan_step(g, d, state.g_opt, state.d_opt, lr, hr, gan, update)
    assert torch.isclose(ours["d_loss"].double(), d_loss, rtol=1e-5)
    assert nearly_equal(gradients(state.d), d_gradients)
    assert torch.isclose(ours["g_loss"].double(), g_loss, rtol=1e-5)
    assert nearly_equal(gradients(state.g), textbook_gradients)


@pytest.mark.parametrize("size, tile", [((70, 95), 24), ((1, 130), 40), ((61, 7), 16)])
def test_tiles_change_nothing(size, tile):
    lr = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    generator = load_generator("srresnet")
    whole = Upscaler(generator, **CPU_FP32, tile=None).upscale(lr)
    tiled = Upscaler(generator, **CPU_FP32, tile=tile).upscale(lr)
    assert (whole - tiled).abs().max() < 1e-5


@pytest.fixture
def short_strips(monkeypatch):
    monkeypatch.setattr(inference, "STRIP_PIXELS", 400)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (90, 20), (171, 33)])
def test_rows_that_flow_change_nothing(size, scale, fast, short_strips):
    "With the tail before or after the last shuffle, in strips of a few rows."
    torch.manual_seed(0)
    lr = torch.rand(2, 3, *size)
    network = Generator(2, 8, scale).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d): layer.running_mean.normal_()
    with torch.no_grad(): whole = to_unit(network(lr)).clamp(0, 1)
    upscaler = Upscaler(network, **CPU_FP32)
    if not fast: network.upsample[-1][0].register_forward_hook(lambda *_: None)
    strips = list(upscaler.bands(lr))
    assert isinstance(network, FastGenerator) == fast
    assert (len(strips) > 1) == (size[0] > 40)
    assert all(strip.shape[2] % scale == 0 for strip in strips)
    assert (torch.cat(strips, -2) - whole).abs().max() < 1e-5


def test_a_picture_is_put_together_from_its_strips(short_strips):
    photo = sample_photos()["coffee"].resize((30, 70))
    upscaler = Upscaler.from_pretrained("srgan", **CPU_FP32)
    strips = list(upscaler.strips(photo))
    assert [strip.height for strip in strips] == [4] * 70
    whole = photo_to_tensor(upscaler(photo))
    assert torch.equal(whole, torch.cat([photo_to_tensor(strip) for strip in strips], 1))
    assert (whole - upscaler.upscale(photo_to_tensor(photo)[None])[0]).abs().max() < 1 / 255


def test_columns_of_wide_pictures_change_nothing(short_strips, monkeypatch):
    lr = torch.rand(1, 3, 60, 130)
    upscaler = Upscaler(Generator(2, 8), **CPU_FP32)
    whole = upscaler.upscale(lr)
    monkeypatch.setattr(inference, "COLUMN", 50)
    assert (upscaler.upscale(lr) - whole).abs().max() < 1e-5


@pytest.mark.parametrize("size", [(400, 50), (50, 400), (20, 20)])
def test_nothing_is_computed_twice(size, short_strips):
    network, lr = Generator(4, 8), torch.rand(1, 3, *size)
    upscaler = Upscaler(network, **CPU_FP32)
    done, needed = flops(lambda: upscaler.upscale(lr)), flops(lambda: network(lr))
    assert done == needed


def flops(run):
    with FlopCounterMode(display=False) as counter, torch.no_grad(): run()
    return counter.get_total_flops()


@pytest.mark.parametrize("weights", ["srresnet", "srgan"])
@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_bfloat16_costs_little(weights, name):
    """On every processor, also if bfloat16 is slow there.

    The first convolution stays in float32: without that, colours shift by up to 0.4 levels.
    """
    hr = photo_to_tensor(sample_photos()[name].crop((160, 60, 352, 252)))[None]
    lr = degrade(hr)
    fp32 = Upscaler.from_pretrained(weights, device="cpu", precision="fp32").upscale(lr)
    bf16 = Upscaler.from_pretrained(weights, device="cpu", precision="bf16").upscale(lr)
    assert psnr(bf16, fp32, channel="rgb") > 40
    assert psnr(fp32, hr) - psnr(bf16, hr) < 0.05
    assert colour_shift(to_signed(bf16), to_signed(fp32)) < 0.2


@pytest.mark.parametrize("forced, expected", [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_automatic_precision_can_be_forced(monkeypatch, forced, expected):
    monkeypatch.setenv("SRGAN_AUTO_PRECISION", forced)
    assert pick_precision("auto", torch.device("cpu")) == expected
    assert Upscaler(Generator(1, 4), device="cpu").dtype == expected
    # a precision asked for by name is not changed
    assert pick_precision("fp32", torch.device("cpu")) == torch.float32
