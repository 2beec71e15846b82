"The perceptual rulers: against the literature's figure, without a network, and beside the user's random numbers."
import subprocess
import sys

import pytest
import torch

from srgan_nb.data import find_photos
from srgan_nb.evaluation import evaluate_folder, score
from srgan_nb.metrics import dists, lpips, st_lpips

from conftest import ROOT, needs_backbones


def run(program):
    "What a Python program prints."
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def pair():
    pytest.importorskip("lpips")
    pytest.importorskip("DISTS_pytorch")
    generator = torch.Generator().manual_seed(0)
    hr = torch.rand(2, 3, 48, 48, generator=generator)
    return (hr + 0.1 * torch.randn(hr.shape, generator=generator)).clamp(0, 1), hr


@needs_backbones
def test_each_picture_is_measured_alone(pair):
    sr, hr = pair
    for ruler in (lpips, dists, st_lpips):
        each = torch.cat([ruler(a[None], b[None]) for a, b in zip(sr, hr)])
        assert torch.allclose(ruler(sr, hr), each), ruler.__name__
        assert (each > 0.001).all()
        assert torch.allclose(ruler(hr, hr), torch.zeros(2), atol=1e-5)


@needs_backbones
def test_loading_a_ruler_leaves_the_users_random_numbers_alone(pair):
    program = (
        "import torch\n"
        "from srgan_nb.metrics import dists, lpips, st_lpips\n"
        "torch.manual_seed(0)\n"
        "x = torch.zeros(1, 3, 32, 32)\n"
        "for ruler in (lpips, dists, st_lpips): ruler(x, x)\n"
        "print(torch.rand(1).item())\n"
    )
    printed = run(program)
    torch.manual_seed(0)
    assert float(printed) == pytest.approx(torch.rand(1).item())


@needs_backbones
def test_torchvision_is_itself_again_after_loading(pair):
    from torchvision import models
    before = models.alexnet, models.vgg16
    lpips(*pair), dists(*pair)
    assert (models.alexnet, models.vgg16) == before


@needs_backbones
def test_score_gives_every_ruler(pair):
    sr, hr = pair
    figures = score(sr[:1], hr[:1], perceptual=True)
    assert list(figures) == ["psnr_y", "ssim_y", "ssim_daala", "lpips", "lpips_vgg", "dists", "st_lpips"]
    assert figures["lpips_vgg"] == pytest.approx(lpips(sr[:1], hr[:1], net="vgg").item())


@needs_backbones
@pytest.mark.slow
def test_bicubic_on_set5_is_the_literatures(eval_dir):
    "LPIPS 0.1 with AlexNet: .3407 is commonly published. DISTS and VGG16's as measured when this was written."
    assert len(find_photos(eval_dir / "Set5/HR")) == 5
    mean = evaluate_folder(eval_dir / "Set5/HR", eval_dir / "Set5/LRbicx4", "bicubic", perceptual=True)["mean"]
    for key, value in dict(lpips=.3407, lpips_vgg=.281, dists=.212, st_lpips=.326).items():
        assert mean[key] == pytest.approx(value, abs=.001), key


def test_without_a_network_the_error_names_the_remedy(monkeypatch, pair):
    monkeypatch.delenv("SRGAN_ALEXNET", raising=False)
    program = (
        "import torch\n"
        "from urllib.error import URLError\n"
        "from unittest import mock\n"
        "from srgan_nb.metrics import lpips\n"
        "x = torch.zeros(1, 3, 32, 32)\n"
        "with mock.patch('torchvision.models.WeightsEnum.get_state_dict', side_effect=URLError('no network')):\n"
        "    try: lpips(x, x)\n"
        "    except OSError as error: print(error)\n"
    )
    printed = run(program)
    assert "alexnet cannot be downloaded (no network)" in printed and "SRGAN_ALEXNET" in printed
