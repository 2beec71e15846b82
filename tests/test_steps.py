"""What trains is what was asked: each setting against a reference written by hand, and who changes in which step.

Their VGG keeps its features at the size of its input. With PyTorch's own random weights they fade with each layer, and
the content term would be too small to be seen.
"""
import json
from dataclasses import asdict, replace
from functools import partial

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from srgan_nb.checkpoint import list_checkpoints, new_state, save_weights_only
from srgan_nb.config import PAPER, Config, Stage
from srgan_nb.data import sample_photos
from srgan_nb.files import read_tensors, tensors_under
from srgan_nb.preflight import load_vgg
from srgan_nb.run_folder import Run
from srgan_nb.steps import batchnorms, discriminator_step, gan_loss, generator_turn, srgan_step, update_ema
from srgan_nb.training import make_step, robust_update, set_rates, train
from srgan_nb.vgg import VGGFeatures

from conftest import CPU_FP32, loud_vgg, tiny_config

SMALL = replace(PAPER, n_blocks=1, channels=8, d_channels=4, phi=(3, 2), adversarial_weight=0.1)


@pytest.fixture(scope="module")
def batch():
    "LR and HR in float64, so that only a mistake can make a visible difference. HR has 8-bit levels, as photos do."
    torch.manual_seed(1)
    lr = torch.rand(2, 3, 12, 12, dtype=torch.float64)
    hr = torch.randint(0, 256, (2, 3, 48, 48)).double() / 127.5 - 1
    return lr, hr


def fresh_state(config):
    state = new_state(config, "srgan", 0, torch.device("cpu"))
    for network in (state.g, state.d): network.double().train()
    set_rates(state, 1e-4, 1e-4)
    return state


def gradients(network):
    return torch.cat([p.grad.flatten() for p in network.parameters()])


def nearly_equal(ours, theirs):
    "Equal up to rounding: the losses are computed in float32."
    return (ours - theirs).norm() < 1e-5 * theirs.norm()


# The losses of each setting, by hand

def mse(a, b): return ((a - b) ** 2).mean()
def l1(a, b): return (a - b).abs().mean()
def log_sigmoid(x): return torch.log(1 / (1 + torch.exp(-x)))


def judge(d, hr, sr, config):
    "D's answers for photographs and for G's pictures."
    real, fake = d(hr), d(sr)
    if config.joint:
        both = d(torch.cat([hr, sr]))
        real, fake = both[:len(hr)], both[len(hr):]
    return (real - fake, fake - real) if config.pairs else (real, fake)


def d_loss_by_hand(d, hr, sr, config):
    real, fake = judge(d, hr, sr, config)
    if config.adversarial == "lsgan": return ((real - 1) ** 2).mean() / 2 + (fake ** 2).mean() / 2
    return -log_sigmoid(real).mean() - log_sigmoid(-fake).mean()


def phases_by_hand(x):
    "The mean of every fourth pixel of every fourth row, in windows of 16 x 16 pixels."
    means = []
    for top in range(4):
        for left in range(4):
            phase = x[:, :, top::4, left::4]
            n, c, height, width = phase.shape
            means.append(phase.reshape(n, c, height // 4, 4, width // 4, 4).mean((3, 5)))
    return torch.stack(means)


def under_each_lr_pixel(x):
    "The mean of the 16 pixels."
    return sum(x[:, :, top::4, left::4] for top in range(4) for left in range(4)) / 16


def content_by_hand(vgg, hr, sr, config):
    if config.content == "pixel": return mse(sr, hr)
    seen, original = sr, hr
    if j := config.jitter:
        levels = torch.round(127.5 * (hr[0, 0] + 1)).long()
        top, left = int(levels[0].sum()) % (j + 1), int(levels[-1].sum()) % (j + 1)
        seen, original = (x[:, :, top:top + 48 - j, left:left + 48 - j] for x in (sr, hr))
    distance = dict(mse=mse, l1=l1)[config.content_kind]
    ours, theirs = (config.feature_scale * vgg((x + 1) / 2) for x in (seen, original))
    content = distance(ours, theirs) + config.pixel_weight * mse(sr, hr)
    content = content + config.phase_weight * mse(phases_by_hand(sr), phases_by_hand(hr))
    return content + config.lr_weight * mse(under_each_lr_pixel(sr), under_each_lr_pixel(hr))


def g_loss_by_hand(d, vgg, hr, sr, config):
    _, fake = judge(d, hr, sr, config)
    adversarial = ((fake - 1) ** 2).mean() if config.adversarial == "lsgan" else -log_sigmoid(fake).mean()
    return content_by_hand(vgg, hr, sr, config) + config.adversarial_weight * adversarial


SETTINGS = [
    dict(),
    dict(feature_scale=1.),
    dict(feature_scale=1 / 40),
    dict(joint=True),
    dict(joint=True, adversarial="lsgan"),
    dict(joint=True, pairs=True),
    dict(pairs=True),
    dict(adversarial="lsgan"),
    dict(adversarial_weight=1.),
    dict(content="pixel"),
    dict(content_kind="l1"),
    dict(pixel_weight=0.5),
    dict(phase_weight=5.),
    dict(lr_weight=5.),
    dict(jitter=16),
    dict(jitter=16, pixel_weight=0.5, phase_weight=5., feature_scale=1 / 40, joint=True), # as in recipes/release.py
]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_a_step_has_the_gradients_of_the_losses_written_by_hand(batch, accelerator, setting):
    "D's turn, then G's against the D that has just learned. Each term is large enough to be seen."
    lr, hr = batch
    config, vgg = replace(SMALL, **setting), loud_vgg(*SMALL.phi)
    state, textbook = fresh_state(config), fresh_state(config)

    d_loss = d_loss_by_hand(textbook.d, hr, textbook.g(lr).detach(), config)
    d_loss.backward()
    d_gradients = gradients(textbook.d)
    textbook.d_opt.step()
    textbook.d.requires_grad_(False)
    sr = textbook.g(lr)
    g_loss = g_loss_by_hand(textbook.d, vgg, hr, sr, config)
    g_loss.backward()

    update = partial(robust_update, accelerator, 0., 1)
    ours = srgan_step(state.g, state.d, state.g_opt, state.d_opt, lr, hr, gan_loss(config, vgg), update)
    assert torch.isclose(ours["d_loss"].double(), d_loss, rtol=1e-5)
    assert torch.isclose(ours["g_loss"].double(), g_loss, rtol=1e-5)
    assert nearly_equal(gradients(state.d), d_gradients)
    assert nearly_equal(gradients(state.g), gradients(textbook.g))


@pytest.mark.parametrize("setting", SETTINGS[1:], ids=str)
def test_each_setting_moves_the_gradients(batch, setting):
    "So the test above can fail: without the setting, D's gradient or G's would be another one."
    lr, hr = batch
    vgg, both = loud_vgg(*SMALL.phi), []
    for config in (SMALL, replace(SMALL, **setting)):
        state = fresh_state(config)
        srgan_step(state.g, state.d, state.g_opt, state.d_opt, lr, hr, gan_loss(config, vgg))
        both.append(torch.cat([gradients(state.g) / gradients(state.g).norm(), gradients(state.d)]))
    plain, changed = both
    assert (changed - plain).norm() > 1e-3 * plain.norm()


# Who learns when

def checkpoints_of(config, folder, **options):
    "Each step's checkpoint: name of the network -> its tensors."
    kept = []

    def keep(run, stage, step):
        _, tensors = read_tensors(list_checkpoints(run)[0], "checkpoint")
        tensors = {key: t.clone() for key, t in tensors.items()}
        kept.append({name: tensors_under(tensors, f"{name}.") for name in ("g", "ema", "d")})

    train(config, sample_photos(), folder, on_save=keep, **CPU_FP32, **options)
    return kept


def equal(a, b): return all(torch.equal(t, b[key]) for key, t in a.items())


def average_by_hand(before, current, decay):
    "By the formula in the chapter on training; counters are copied."
    averages = {}
    for key, t in before.items():
        averages[key] = decay * t + (1 - decay) * current[key] if t.is_floating_point() else current[key]
    return averages


@pytest.mark.parametrize("accumulate", [1, 2])
def test_while_only_d_learns_nothing_of_g_moves(tmp_path, accumulate):
    "Neither its weights nor BatchNorm's statistics nor their average, for exactly `d_warmup` steps."
    warmup = 3
    stage = Stage(6, rate=1e-3)
    config = tiny_config(srresnet=Stage(), srgan=stage, save_every=1, d_warmup=warmup, accumulate=accumulate)
    start, = checkpoints_of(replace(config, srgan=replace(stage, steps=1), d_warmup=1), tmp_path / "one")
    states = checkpoints_of(config, tmp_path / "run")
    for step, state in enumerate(states, 1):
        still = step <= warmup
        assert equal(state["g"], start["g"]) == still, step
        assert equal(state["ema"], start["ema"]) == still, step
    ds = [state["d"]["features.0.weight"] for state in states]
    assert not any(torch.equal(a, b) for a, b in zip(ds, ds[1:]))


def test_the_average_follows_the_formula_step_by_step(tmp_path):
    "Early on, (1 + k) / (10 + k) of it stays, k counted from 0; later the share that the configuration says."
    config = tiny_config(srresnet=Stage(6, rate=1e-2), srgan=Stage(), save_every=1, ema=0.3)
    states = checkpoints_of(config, tmp_path / "run")
    for k, (before, state) in enumerate(zip(states, states[1:]), 1):
        decay = min(0.3, (1 + k) / (10 + k))
        expected = average_by_hand(before["ema"], state["g"], decay)
        assert all(torch.allclose(t, expected[key], atol=1e-6) for key, t in state["ema"].items())


@pytest.mark.parametrize("step, share", [(0, 0.1), (8, 0.5), (80, 0.9), (8989, 0.999), (10**6, 0.999)])
def test_the_share_of_the_average_that_stays(step, share):
    average, model = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.ones_(average.weight)
    nn.init.zeros_(model.weight)
    update_ema(average, model, 0.999, step)
    assert average.weight.item() == pytest.approx(share, abs=1e-6)


def test_the_average_rests_while_only_d_learns_although_it_differs_from_g(tmp_path):
    "As at a start from a slim checkpoint, whose average is not its G."
    config = tiny_config(srresnet=Stage(), srgan=Stage(3, rate=1e-2), save_every=3)
    run = train(config, sample_photos(), tmp_path / "run", **CPU_FP32)
    save_weights_only(run, tmp_path / "slim.safetensors")
    warm = replace(config, srgan=Stage(2), d_warmup=2, save_every=1)
    first, second = checkpoints_of(warm, tmp_path / "warm", stage="srgan", init=tmp_path / "slim.safetensors")
    assert not equal(first["g"], first["ema"])
    assert equal(first["ema"], second["ema"])


# BatchNorm's statistics

def statistics(network):
    return torch.cat([b.flatten() for layer in batchnorms(network) for b in (layer.running_mean, layer.running_var)])


def test_d_alone_leaves_the_statistics_of_g(batch):
    lr, hr = batch
    state, gan = fresh_state(SMALL), gan_loss(replace(SMALL, content="pixel"), None)
    before = {key: t.clone() for key, t in state.g.state_dict().items()}
    discriminator_step(state.g, state.d, state.d_opt, lr, hr, gan)
    assert equal(state.g.state_dict(), before)
    assert all(layer.track_running_stats for layer in batchnorms(state.g))
    # D was shown what an ordinary step shows it: pictures normalised by the batch
    other = fresh_state(SMALL)
    srgan_step(other.g, other.d, other.g_opt, other.d_opt, lr, hr, gan)
    assert all(torch.equal(p, q) for p, q in zip(state.d.parameters(), other.d.parameters()))


@pytest.mark.parametrize("stage", ["srresnet", "srgan"])
@pytest.mark.parametrize("slices", [1, 2, 4])
def test_statistics_move_once_per_step(stage, slices, accelerator):
    """A tenth of the way, as PyTorch's momentum of 0.1 says, however many slices the batch has.

    The slices are equal here. Then each slice has the mean of the whole batch; its variance only differs by Bessel's
    correction.
    """
    config = tiny_config(batch=4, accumulate=slices)
    state = new_state(config, stage, 0, torch.device("cpu"))
    step = make_step(Run(config, None, None, 0, accelerator), state)[1]
    set_rates(state, 0., 0.)
    torch.manual_seed(0)
    lr, hr = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 32, 32)
    step(lr.repeat(4, 1, 1, 1), hr.repeat(4, 1, 1, 1))
    moved = statistics(state.g)

    plain = new_state(replace(config, accumulate=1), stage, 0, torch.device("cpu"))
    plain.g.train()(lr.repeat(4, 1, 1, 1))
    assert torch.allclose(moved, statistics(plain.g), rtol=0.02, atol=1e-5)


# The tests' own VGG

def test_the_vgg_of_these_tests_can_be_seen(batch):
    "Its content term makes most of G's gradient in the paper's setting; that of PyTorch's random VGG54 makes none."
    lr, hr = batch
    shares = {}
    random = VGGFeatures(5, 4, weights=None).double()
    for name, vgg in dict(loud=loud_vgg(5, 4), random=random).items():
        parts = []
        for weight in (1e-3, 0.):
            state = fresh_state(SMALL)
            gan = gan_loss(replace(SMALL, phi=(5, 4), adversarial_weight=weight), vgg)
            generator_turn(state.d, state.g(lr), hr, gan)[0].backward()
            parts.append(gradients(state.g).norm())
        whole, content = parts
        shares[name] = (content / whole).item()
    assert shares["loud"] > 0.1 and shares["random"] < 1e-6


def test_a_run_takes_the_layers_that_its_configuration_names(accelerator, tmp_path):
    "Also after the configuration has been through JSON."
    torch.manual_seed(0)
    save_file(VGGFeatures(2, 2, weights=None).state_dict(), tmp_path / "vgg.safetensors")
    layers = (1, 2, 0.5), (2, 1, 3.)
    config = Config.from_dict(json.loads(json.dumps(asdict(replace(SMALL, phi=layers)))))
    vgg = load_vgg(config, ("srgan",), tmp_path / "vgg.safetensors", accelerator)
    assert vgg.shares == {2: 0.5, 5: 3.}
    assert config == replace(SMALL, phi=layers)
