"PSNR and SSIM by another library: the same figures for the same pictures and the same convention."
import pytest
import torch

from srgan_nb.data import degrade, sample_photos
from srgan_nb.metrics import psnr, ssim
from srgan_nb.utils import enlarge, photo_to_tensor


@pytest.fixture(scope="module")
def pictures():
    "Bicubic results and their originals, on the levels of 8 bits, in float64."
    hr = torch.stack([photo_to_tensor(photo)[:, 80:240, 100:292] for photo in sample_photos().values()])
    sr = enlarge(degrade(hr)).clamp(0, 1)
    return (sr * 255).round().double() / 255, hr.double()


def studio_y(x):
    "Y of BT.601 in the studio range (Sec. 3.1), without 4 pixels on each side, by hand."
    red, green, blue = x[..., 4:-4, 4:-4].unbind(1)
    return (16 + 65.481 * red + 128.553 * green + 24.966 * blue)[:, None] / 255


def test_torchmetrics_agrees(pictures):
    functional = pytest.importorskip("torchmetrics.functional.image", reason="torchmetrics is not installed")
    sr, hr = pictures
    ours = dict(y=map(studio_y, pictures), rgb=(x[..., 4:-4, 4:-4] for x in pictures))
    for channel, pair in ours.items():
        a, b = pair
        decibels = functional.peak_signal_noise_ratio(a, b, data_range=1., dim=(1, 2, 3), reduction="none")
        assert torch.allclose(psnr(sr, hr, channel=channel).double(), decibels, atol=1e-4)
        _, likeness = functional.structural_similarity_index_measure(a, b, data_range=1., return_full_image=True)
        whole_windows = likeness[..., 5:-5, 5:-5] # theirs goes on to the edges of a mirrored picture, Wang's does not
        assert torch.allclose(ssim(sr, hr, channel=channel).double(), whole_windows.mean((1, 2, 3)), atol=1e-5)
