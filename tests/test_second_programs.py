"What this package writes is read by another program, and means the same there."
import json
import re
import shutil
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from srgan_nb.convert import IMAGENET, LAYOUTS, SIGNED, Wrapped
from srgan_nb.export import export_onnx
from srgan_nb.generator import Generator
from srgan_nb.inference import Upscaler
from srgan_nb.media import upscale_file, upscale_video
from srgan_nb.weights import load_generator, save_generator

from conftest import CPU_FP32

UPSCALER = Upscaler(Generator(1, 4), **CPU_FP32)


def needs(program, package):
    "The path of a program; without it the test is skipped."
    path = shutil.which(program)
    if not path: pytest.skip(f"{program} is not installed (Debian's {package})")
    return path


# Networks

def networks():
    "A generator of each scale, and one with something around it."
    torch.manual_seed(0)
    plain = {f"x{scale}": Generator(1, 4, scale).eval() for scale in (2, 4, 8)}
    return plain | {"wrapped": Wrapped(Generator(1, 4), IMAGENET, True, SIGNED).eval()}


@pytest.mark.parametrize("name", ["x2", "x4", "x8", "wrapped", "srresnet"])
def test_opencv_runs_the_onnx_file(tmp_path, name):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed (opencv-python-headless)")
    network = load_generator(name) if name == "srresnet" else networks()[name]
    export_onnx(network, tmp_path / "a.onnx")
    opencv = cv2.dnn.readNetFromONNX(str(tmp_path / "a.onnx"))
    for size in ((1, 3, 20, 31), (1, 3, 9, 8)):
        lr = torch.rand(size)
        opencv.setInput(lr.numpy())
        expected = Upscaler(network, **CPU_FP32).upscale(lr).numpy()
        assert np.abs(opencv.forward() - expected).max() < 1e-5


def test_the_onnx_file_suits_older_programs(tmp_path):
    "onnxruntime 1.17 takes IR version 9 and opset 20; and nothing is rearranged at run time."
    onnx = pytest.importorskip("onnx")
    export_onnx(load_generator("srgan"), tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    assert model.ir_version <= 9 and max(opset.version for opset in model.opset_import) <= 20
    kinds = {node.op_type for node in model.graph.node}
    assert kinds == {"Conv", "PRelu", "Add", "DepthToSpace", "Div", "Clip"}


OLD_PROGRAM = """
import numpy, onnxruntime, sys
lr, sr = (numpy.load(f"{sys.argv[1]}/{name}.npy") for name in ("lr", "sr"))
session = onnxruntime.InferenceSession(f"{sys.argv[1]}/a.onnx", providers=["CPUExecutionProvider"])
assert numpy.abs(session.run(None, dict(lr=lr))[0] - sr).max() < 1e-5
print(onnxruntime.__version__)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="onnxruntime 1.17 is for Python up to 3.12")
def test_onnxruntime_of_2024_runs_the_onnx_file(tmp_path):
    "In an environment of its own, because it needs NumPy 1."
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    python = next(path for path in (tmp_path / "env/bin/python", tmp_path / "env/Scripts/python.exe") if path.exists())
    install = [python, "-m", "pip", "install", "-q", "onnxruntime==1.17.3", "numpy<2"]
    if subprocess.run(install, capture_output=True).returncode: pytest.skip("onnxruntime 1.17 can't be installed here")
    lr = torch.rand(1, 3, 20, 31)
    export_onnx(load_generator("srgan"), tmp_path / "a.onnx")
    np.save(tmp_path / "lr.npy", lr.numpy())
    np.save(tmp_path / "sr.npy", Upscaler.from_pretrained("srgan", **CPU_FP32).upscale(lr).numpy())
    done = subprocess.run([python, "-c", OLD_PROGRAM, tmp_path], capture_output=True, text=True)
    assert done.stdout == "1.17.3\n", done.stderr


@pytest.mark.parametrize("name", ["x4", "wrapped"])
def test_spandrel_loads_the_weights_if_it_is_told_about_them(tmp_path, name):
    spandrel = pytest.importorskip("spandrel", reason="spandrel is not installed")
    network = networks()[name]
    save_generator(network, tmp_path / "a.safetensors")

    class Ours(spandrel.Architecture):
        def __init__(self):
            keys = [f"{prefix}head.0.weight" for prefix in ("", "generator.")]
            super().__init__(id="srgan_nb", detect=spandrel.util.KeyCondition.has_any(*keys))

        def load(self, state_dict):
            model = networks()[name]
            return spandrel.ImageModelDescriptor(model, state_dict, architecture=self, purpose="SR", tags=[],
                supports_half=False, supports_bfloat16=True, scale=4, input_channels=3, output_channels=3)

    registry = spandrel.ArchRegistry()
    registry.add(spandrel.ArchSupport.from_architecture(Ours()))
    loaded = spandrel.ModelLoader(registry=registry).load_from_file(tmp_path / "a.safetensors")
    lr = torch.rand(1, 3, 8, 8)
    with torch.no_grad(): assert torch.equal(loaded.model(lr), network(lr))


@pytest.mark.parametrize("name", LAYOUTS)
def test_converted_weights_can_be_saved_and_loaded(tmp_path, name):
    layout = LAYOUTS[name]
    network = Generator(1, 4)
    if layout.tanh or layout.takes != LAYOUTS["Lornatang/SRGAN-PyTorch"].takes:
        network = Wrapped(network, layout.takes, layout.tanh, layout.gives)
    save_generator(network.eval(), tmp_path / "a.safetensors")
    lr = torch.rand(1, 3, 8, 8)
    with torch.no_grad(): assert torch.equal(load_generator(tmp_path / "a.safetensors")(lr), network(lr))
    assert torch.equal(Upscaler.from_pretrained(tmp_path / "a.safetensors", **CPU_FP32).upscale(lr),
        Upscaler(network, **CPU_FP32).upscale(lr))


@pytest.mark.parametrize("begin, program", [(b"PK\3\4", "PyTorch"), (b"\x80\2", "PyTorch"), (b"\x89HDF\r\n", "Keras")])
def test_weights_of_other_programs_name_convert(srgan, tmp_path, begin, program):
    (tmp_path / "x.pth").write_bytes(begin + bytes(100))
    result = srgan("upscale", "a.png", "-o", tmp_path / "b.png", "--weights", tmp_path / "x.pth")
    assert result.exit_code == 1
    assert f"weights of {program}; srgan_nb.convert" in result.stderr


@pytest.mark.parametrize("name, data, said", [
    ("a.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    ("a.bin", b"<!DOCTYPE html><html>", "a web page"),
    ("a.ckpt", b"\x08\0\0\0\0\0\0\0{" + bytes(9), "not a whole one"),
])
def test_files_that_hold_no_weights_say_what_they_are(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=said): load_generator(tmp_path / name)


def test_an_onnx_file_or_an_archive_is_not_taken_for_weights(tmp_path):
    pytest.importorskip("onnx")
    export_onnx(Generator(1, 4), tmp_path / "a.onnx")
    with pytest.raises(ValueError, match="an ONNX file"): load_generator(tmp_path / "a.onnx")
    shutil.make_archive(tmp_path / "b", "zip", tmp_path, "a.onnx")
    with pytest.raises(ValueError, match="a zip archive; unpack it"): load_generator(tmp_path / "b.zip")
    torch.save(Generator(1, 4).state_dict(), tmp_path / "c.pth")
    with pytest.raises(ValueError, match="weights of PyTorch"): load_generator(tmp_path / "c.pth")


# Pictures

@pytest.fixture
def rich(tmp_path):
    "A JPEG with a profile."
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.effect_noise((24, 16), 50).convert("RGB").save(tmp_path / "a.jpg", icc_profile=profile, dpi=(300, 300))
    return tmp_path / "a.jpg"


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg", "bmp", "jp2", "avif"])
def test_opencv_reads_the_pictures(rich, tmp_path, suffix):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed (opencv-python-headless)")
    upscale_file(rich, tmp_path / f"large.{suffix}", UPSCALER)
    pixels = cv2.imdecode(np.fromfile(tmp_path / f"large.{suffix}", np.uint8), cv2.IMREAD_COLOR)
    if pixels is None: pytest.skip(f"this OpenCV has no {suffix}")
    theirs = pixels[..., ::-1].astype(int)
    ours = np.asarray(Image.open(tmp_path / f"large.{suffix}").convert("RGB"), int)
    assert np.abs(theirs - ours).max() <= 3


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg", "avif"])
def test_littlecms_takes_the_profile(rich, tmp_path, suffix):
    upscale_file(rich, tmp_path / f"large.{suffix}", UPSCALER)
    large = Image.open(tmp_path / f"large.{suffix}")
    profile = ImageCms.ImageCmsProfile(BytesIO(large.info["icc_profile"]))
    same = ImageCms.profileToProfile(large.convert("RGB"), profile, ImageCms.createProfile("sRGB"))
    assert np.abs(np.asarray(same, int) - np.asarray(large.convert("RGB"), int)).max() <= 2


def test_libtiff_reads_all_pages(tmp_path):
    tiffinfo = needs("tiffinfo", "libtiff-tools")
    pages = [Image.new("RGB", (12, 8), colour) for colour in ("red", "green", "blue")]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    upscale_file(tmp_path / "a.tif", tmp_path / "large.tif", UPSCALER)
    done = subprocess.run([tiffinfo, "-D", tmp_path / "large.tif"], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr
    assert re.findall(r"Image Width: (\d+) Image Length: (\d+)", done.stdout) == [("48", "32")] * 3


# Clips

@pytest.mark.slow
@pytest.mark.parametrize("rate, fps", [("1000", 1000), ("30000/1001", 30000 / 1001), ("25", 25), ("12.5", 12.5)])
def test_clips_keep_their_rate_in_another_program(tmp_path, rate, fps):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed (opencv-python-headless)")
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    source = ("-f", "lavfi", "-i", f"testsrc=s=32x32:r={rate}", "-frames:v", "20")
    subprocess.run([ffmpeg, "-v", "error", *source, tmp_path / "a.mp4"], check=True)
    upscale_video(tmp_path / "a.mp4", tmp_path / "large.mp4", UPSCALER)
    clip = cv2.VideoCapture(str(tmp_path / "large.mp4"))
    assert abs(clip.get(cv2.CAP_PROP_FPS) / fps - 1) < 1e-4
    frames = 0
    while clip.read()[0]: frames += 1
    assert frames == 20


@pytest.mark.slow
def test_exiftool_reads_where_a_clip_was_made(tmp_path):
    exiftool = needs("exiftool", "libimage-exiftool-perl")
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    source = ("-f", "lavfi", "-i", "testsrc=s=32x32:r=5:d=1")
    about = ("-metadata", "location=+48.2000+016.3000/", "-metadata", "creation_time=2020-01-02T03:04:05Z")
    subprocess.run([ffmpeg, "-v", "error", *source, *about, tmp_path / "a.mp4"], check=True)
    for metadata in (True, False):
        large = tmp_path / f"{metadata}.mp4"
        upscale_video(tmp_path / "a.mp4", large, UPSCALER, metadata=metadata)
        tags = json.loads(subprocess.run([exiftool, "-json", "-n", large], capture_output=True, text=True).stdout)[0]
        assert ("GPSPosition" in tags) == metadata
        if metadata: assert tags["CreateDate"] == "2020:01:02 03:04:05" and tags["GPSPosition"].startswith("48.2")
