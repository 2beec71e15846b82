"What makes things fast changes no number: the fast paths against the textbook's."
import pytest
import torch
import torch.nn.functional as F

from srgan_nb import inference
from srgan_nb.data import degrade, sample_photos
from srgan_nb.discriminator import Discriminator
from srgan_nb.generator import Generator, load_generator
from srgan_nb.inference import Upscaler
from srgan_nb.metrics import psnr
from srgan_nb.training import PAPER, colour_shift, content_loss, make_accelerator, new_state, srgan_step, srresnet_step
from srgan_nb.utils import photo_to_tensor, pick_precision, to_signed
from srgan_nb.vgg import VGGFeatures

from textbook import DrawnGenerator


@pytest.fixture(scope="module")
def batch():
    torch.manual_seed(0)
    return torch.rand(2, 3, 24, 24, dtype=torch.float64), torch.rand(2, 3, 96, 96, dtype=torch.float64) * 2 - 1 # so that only an error makes a difference


@pytest.fixture(scope="module")
def accelerator(): return make_accelerator("cpu", "fp32")


def drawn(generator) -> DrawnGenerator:
    "The same parameters, computed as Fig. 4 draws them, in NCHW."
    copy = DrawnGenerator(**generator.architecture).to(generator.tail.weight.dtype)
    copy.load_state_dict(generator.state_dict())
    return copy.train(generator.training)


def gradients(model) -> torch.Tensor: return torch.cat([p.grad.flatten() for p in model.parameters()])


def same(ours, theirs) -> bool:
    "Equal up to the float32 in which the steps compute their losses, measured against the size of the whole."
    return (ours - theirs).norm() < 1e-5 * theirs.norm()


def test_generator_gives_the_numbers_of_the_figure(batch):
    generator = load_generator("srresnet").double().to(memory_format=torch.channels_last)
    with torch.no_grad(): assert (generator(batch[0]) - drawn(generator)(batch[0])).abs().max() < 1e-10


def test_srresnet_step_has_the_textbooks_gradients(batch, accelerator):
    lr, hr = batch
    state = new_state(PAPER, "srresnet", 0, torch.device("cpu"))
    state.g.double()
    textbook = drawn(state.g.train())
    loss = F.mse_loss(textbook(lr), hr)
    loss.backward()
    ours = srresnet_step(accelerator, state.g, state.g_opt, lr, hr)
    assert torch.isclose(ours["g_loss"].double(), loss, rtol=1e-5)
    assert same(gradients(state.g), gradients(textbook))


def test_srgan_step_has_the_textbooks_gradients(batch, accelerator):
    "Nothing frozen, nothing shared: D's turn, then G's, each with a forward pass of its own."
    lr, hr = batch
    state, vgg = new_state(PAPER, "srgan", 0, torch.device("cpu")), VGGFeatures(5, 4, weights=None).double()
    g, d = drawn(state.g.double().train()), Discriminator().double()
    d.load_state_dict(state.d.double().state_dict())
    d_opt, judge = torch.optim.Adam(d.parameters(), lr=1e-4), F.binary_cross_entropy_with_logits
    real, fake = (torch.full((2, 1), value, dtype=torch.float64) for value in (1, 0))
    d_loss = judge(d(hr), real) + judge(d(g(lr).detach()), fake)
    d_loss.backward(); d_gradients = gradients(d); d_opt.step()
    features = lambda x: vgg((x + 1) / 2) / 12.75
    drawn_again = drawn(state.g) # its BatchNorm has not seen a batch yet
    sr = drawn_again(lr)
    g_loss = F.mse_loss(features(sr), features(hr)) + 1e-3 * judge(d(sr), real); g_loss.backward()

    for group in state.d_opt.param_groups + state.g_opt.param_groups: group["lr"] = 1e-4
    ours = srgan_step(accelerator, state.g, state.d.train(), state.g_opt, state.d_opt, lr, hr, content_loss(PAPER, vgg))
    assert torch.isclose(ours["d_loss"].double(), d_loss, rtol=1e-5) and same(gradients(state.d), d_gradients)
    assert torch.isclose(ours["g_loss"].double(), g_loss, rtol=1e-5) and same(gradients(state.g), gradients(drawn_again))


@pytest.mark.parametrize("size, tile", [((70, 95), 24), ((1, 130), 40), ((61, 7), 16)])
def test_tiles_change_nothing(size, tile):
    lr = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    whole, tiled = (Upscaler(load_generator("srresnet"), device="cpu", precision="fp32", tile=side).upscale(lr) for side in (None, tile))
    assert (whole - tiled).abs().max() < 1e-5


def test_a_given_tile_goes_through_alone(monkeypatch):
    "Whoever asks for small tiles wants little memory: they are not put together again."
    sizes, run = [], inference._run
    monkeypatch.setattr(inference, "_run", lambda upscaler, lr, strip: (sizes.append(tuple(lr.shape)), run(upscaler, lr, strip))[1])
    toy = Generator(1, 4)
    for tile in (16, 32): Upscaler(toy, device="cpu", precision="fp32", tile=tile).upscale(torch.rand(1, 3, 100, 90))
    assert {n for n, *_ in sizes} == {1}


@pytest.mark.parametrize("weights", ["srresnet", "srgan"])
@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_bfloat16_costs_little(weights, name):
    "On every processor, also where bfloat16 is slow. The first convolution is in float32: without that, colours shift by up to .4 level."
    hr = photo_to_tensor(sample_photos()[name].crop((160, 60, 352, 252)))[None]
    exact, half = (Upscaler.from_pretrained(weights, device="cpu", precision=precision).upscale(degrade(hr)) for precision in ("fp32", "bf16"))
    assert psnr(half, exact, channel="rgb") > 40 and psnr(exact, hr) - psnr(half, hr) < 0.05
    assert colour_shift(to_signed(half), to_signed(exact)) < 0.2


@pytest.mark.parametrize("forced, expected", [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_auto_can_be_forced(monkeypatch, forced, expected):
    monkeypatch.setenv("SRGAN_AUTO_PRECISION", forced)
    assert pick_precision("auto", torch.device("cpu")) == expected == Upscaler(Generator(1, 4), device="cpu").dtype
    assert pick_precision("fp32", torch.device("cpu")) == torch.float32 # what is asked for by name is not touched
