"Bad input gives one clear line, never a traceback or a half-written file. Unusual input works."
import json
import os
import struct
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngImageFile
from safetensors.torch import save_file

from srgan_nb.generator import Generator
from srgan_nb.inference import Upscaler
from srgan_nb.media import upscale_video
from srgan_nb.utils import open_photo
from srgan_nb.weights import load_generator, save_generator

from conftest import CPU_FP32, SRGAN_COMMAND, red_disc


def assert_one_error(result, *words):
    "Exit code 1, and one line on stderr that contains all of `words`."
    assert result.exit_code == 1
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    for word in words:
        assert str(word) in lines[0]


# Files that are missing, empty or broken

def test_a_missing_file_is_named(srgan, tmp_path, weights):
    result = srgan("upscale", tmp_path / "none.png", "-o", tmp_path / "out.png", "--weights", weights)
    assert_one_error(result, "none.png", "no such file")
    assert not (tmp_path / "out.png").exists()


def test_an_empty_folder_is_an_error(srgan, tmp_path, weights):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert_one_error(srgan("upscale", empty, "-o", tmp_path / "out", "--weights", weights), "no photos")
    assert_one_error(srgan("train", "--data", empty, "--out", tmp_path / "run"), "no photos")
    assert_one_error(srgan("evaluate", empty, "--weights", "bicubic"), "no photos")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "run").exists()


def test_broken_photos_are_named_and_the_others_are_upscaled(srgan, photos, tmp_path, weights):
    (photos / "text.jpg").write_text("not a photo", encoding="utf-8")
    buffer = BytesIO()
    Image.open(photos / "chelsea.png").save(buffer, "JPEG", quality=95)
    (photos / "half.jpg").write_bytes(buffer.getvalue()[:-2000])
    result = srgan("upscale", photos, "-o", tmp_path / "out", "--weights", weights)
    assert result.exit_code == 1
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["astronaut.png", "chelsea.png", "coffee.png"]
    half, text = result.stderr.strip().splitlines()
    assert "half.jpg" in half and "truncated" in half
    assert "text.jpg" in text


def test_any_exception_of_a_decoder_is_handled(srgan, photos, tmp_path, weights, monkeypatch):
    "Pillow's AVIF decoder raises RuntimeError, others NotImplementedError or AttributeError."
    load = PngImageFile.load

    def load_or_fail(self):
        if Path(self.filename).name == "broken.png":
            raise RuntimeError("Decoding of color planes failed")
        return load(self)

    monkeypatch.setattr(PngImageFile, "load", load_or_fail)
    (photos / "broken.png").write_bytes((photos / "coffee.png").read_bytes())
    result = srgan("upscale", photos, "-o", tmp_path / "out", "--weights", weights)
    assert result.exit_code == 1
    assert "broken.png: cannot be decoded: Decoding of color planes failed" in result.stderr
    assert (tmp_path / "out/coffee.png").is_file()


TIFF_TAGS = {
    256: 4, # width
    257: 4, # height
    258: 16, # bits per sample
    259: 1, # no compression
    262: 1, # black is zero
    273: 134, # where the pixels start
    277: 1, # samples per pixel
    278: 4, # rows per strip
    279: 32, # bytes per strip
    339: 1, # unsigned integers
}


@pytest.mark.parametrize("changes", [
    {258: 12, 279: 24},
    {262: 0},
    {339: 2},
], ids=["12 bits", "white is zero", "signed"])
def test_other_bit_depths_are_refused_and_not_guessed(tmp_path, changes):
    "A handmade TIFF of 4 x 4 pixels: header, tags, pixels."
    tags = TIFF_TAGS | changes
    header = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags.items())
    path = tmp_path / "a.tif"
    path.write_bytes(header + entries + bytes(4) + bytes(range(32)))
    assert Image.open(path).mode.startswith("I")
    with pytest.raises(ValueError, match="not 16 bits from black to white"):
        open_photo(path)


@pytest.mark.parametrize("padding", [3, -3])
def test_a_colour_profile_of_the_wrong_length_does_no_harm(srgan, photos, tmp_path, weights, padding):
    "A profile that is too long is kept without its padding. One that is cut off is dropped."
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    wrong_length = profile + b"xyz" if padding > 0 else profile[:padding]
    Image.open(photos / "coffee.png").convert("RGB").save(photos / "a.jpg", icc_profile=wrong_length)
    assert srgan("upscale", photos / "a.jpg", "-o", tmp_path / "large.png", "--weights", weights).exit_code == 0
    expected = profile if padding > 0 else None
    assert Image.open(tmp_path / "large.png").info.get("icc_profile") == expected


# Photos to train on

def test_photos_smaller_than_the_crop_are_skipped(srgan, photos, tmp_path):
    Image.new("RGB", (200, 40)).save(photos / "low.png")
    options = ("--steps", 1, "--stage", "srresnet", "--device", "cpu")
    result = srgan("train", "--data", photos, "--out", tmp_path / "run", *options)
    assert result.exit_code == 0
    assert "skipped low.png: 200 x 40 pixels, smaller than the crop of 48" in result.output


def test_no_usable_photo_is_an_error(srgan, tmp_path):
    (tmp_path / "small").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "small/a.png")
    result = srgan("train", "--data", tmp_path / "small", "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert "smaller than the crop" in result.stderr
    assert not (tmp_path / "run").exists()


def test_strict_refuses_a_broken_photo(srgan, photos, tmp_path):
    (photos / "text.jpg").write_text("not a photo", encoding="utf-8")
    result = srgan("train", "--data", photos, "--out", tmp_path / "run", "--strict")
    assert result.exit_code == 1
    assert "text.jpg" in result.stderr
    assert not (tmp_path / "run").exists()


# Picture modes

@pytest.mark.parametrize("mode, expected", [
    ("1", "L"),
    ("L", "L"),
    ("LA", "LA"),
    ("P", "RGB"),
    ("RGB", "RGB"),
    ("RGBA", "RGBA"),
    ("I;16", "L"),
])
def test_every_mode_can_be_upscaled(srgan, photos, tmp_path, weights, mode, expected):
    image = Image.open(photos / "coffee.png").resize((24, 17))
    image = image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)
    image.save(tmp_path / "in.png")
    assert srgan("upscale", tmp_path / "in.png", "-o", tmp_path / "out.png", "--weights", weights).exit_code == 0
    out = Image.open(tmp_path / "out.png")
    assert (out.mode, out.size) == (expected, (96, 68))


def test_cmyk_and_alpha(srgan, photos, tmp_path, weights):
    image = Image.open(photos / "coffee.png").resize((24, 17))
    image.convert("CMYK").save(tmp_path / "print.jpg")
    result = srgan("upscale", tmp_path / "print.jpg", "-o", tmp_path / "print.png", "--weights", weights)
    assert result.exit_code == 0
    assert Image.open(tmp_path / "print.png").mode == "RGB"

    alpha = Image.linear_gradient("L").resize(image.size)
    image.putalpha(alpha)
    image.save(tmp_path / "veil.png")
    result = srgan("upscale", tmp_path / "veil.png", "-o", tmp_path / "large.png", "--weights", weights)
    assert result.exit_code == 0
    large_alpha = np.asarray(Image.open(tmp_path / "large.png").getchannel("A"))
    assert np.array_equal(large_alpha, np.asarray(alpha.resize((96, 68), Image.BICUBIC)))


def test_transparent_pixels_do_not_darken_edges():
    "A red disc on transparent black: the half-transparent pixels of its enlarged edge are red, too."
    upscaler = Upscaler.from_pretrained("srresnet", **CPU_FP32)
    large = np.asarray(upscaler(red_disc(40, 15)))
    half = (large[..., 3] > 100) & (large[..., 3] < 156)
    assert half.any()
    assert (large[half][:, 0] > 235).all()


# Outputs

@pytest.mark.parametrize("name", ["large.ico", "large.pdf", "large"])
def test_formats_that_are_not_for_photos_are_refused(srgan, photos, tmp_path, weights, name):
    result = srgan("upscale", photos / "coffee.png", "-o", tmp_path / name, "--weights", weights)
    assert result.exit_code == 1
    assert "use .png" in result.stderr
    assert not (tmp_path / name).exists()


def test_output_that_cannot_be_written_is_named(srgan, photos, tmp_path, weights):
    file, photo = tmp_path / "file", photos / "coffee.png"
    file.write_text("in the way", encoding="utf-8")
    assert_one_error(srgan("upscale", photo, "-o", file / "out.png", "--weights", weights), "file")
    assert_one_error(srgan("upscale", photos, "-o", file, "--weights", weights), "file")
    assert_one_error(srgan("upscale", photo, "-o", tmp_path / "out.xyz", "--weights", weights), ".xyz")
    assert_one_error(srgan("train", "--data", photos, "--out", file / "run", "--steps", 1), "file")
    assert file.read_text(encoding="utf-8") == "in the way"


def test_existing_output_is_kept(srgan, photos, tmp_path, weights):
    out, photo = tmp_path / "out.png", photos / "coffee.png"
    out.write_text("precious", encoding="utf-8")
    assert_one_error(srgan("upscale", photo, "-o", out, "--weights", weights), "--overwrite")
    assert out.read_text(encoding="utf-8") == "precious"
    result = srgan("upscale", photo, "-o", photo, "--weights", weights, "--overwrite")
    assert_one_error(result, "the source itself")


def test_no_result_replaces_another_original(srgan, photos, weights):
    "The result for a.jpg would be a.png, which is one of the pictures to upscale."
    photo = Image.open(next(photos.iterdir()))
    for path in photos.iterdir():
        path.unlink()
    photo.save(photos / "a.jpg")
    photo.save(photos / "a.png")
    before = (photos / "a.png").read_bytes()
    result = srgan("upscale", photos, "-o", photos, "--overwrite", "--weights", weights)
    assert_one_error(result, photos / "a.jpg", "would replace", "another folder")
    assert (photos / "a.png").read_bytes() == before
    assert len(list(photos.iterdir())) == 2


def test_figures_need_a_name_with_a_format(srgan, tmp_path):
    result = srgan("compare", "srgan", "-o", tmp_path / "figure")
    assert result.exit_code == 1
    assert "picture's name" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no FIFOs")
def test_a_report_can_be_written_to_a_named_pipe(srgan, photos, weights, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    without_waiting = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK) # opens although nobody writes yet
    with open(without_waiting, encoding="utf-8") as reader:
        assert srgan("evaluate", photos, "--weights", weights, "--json", pipe).exit_code == 0
        assert json.load(reader)["n"] == 3
        assert pipe.is_fifo()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux allows any bytes in a file name")
def test_a_file_name_that_is_not_utf8(photos, weights, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    next(photos.iterdir()).rename(photos / name)
    command = [*SRGAN_COMMAND, "upscale", photos, "-o", tmp_path / "large", "--weights", weights]
    strict = os.environ | dict(PYTHONIOENCODING="utf-8:strict")
    done = subprocess.run(command, env=strict, capture_output=True)
    assert done.returncode == 0 and b"caf\xe9.png" in done.stdout, done.stderr
    large_names = sorted(path.name for path in (tmp_path / "large").iterdir())
    assert large_names == sorted(path.name for path in photos.iterdir())


# Weights

@pytest.mark.parametrize("name", ["./typo", "../typo", "typo/", "~/typo"])
def test_a_mistyped_path_is_not_taken_for_a_hub_id(name):
    with pytest.raises(ValueError, match="no such weights"):
        load_generator(name)


def test_weights_with_nan_are_refused(tmp_path):
    generator = Generator(1, 4)
    torch.nn.init.constant_(generator.tail.bias, float("nan"))
    save_generator(generator, tmp_path / "nan.safetensors")
    with pytest.raises(ValueError, match="NaN or infinite"):
        load_generator(tmp_path / "nan.safetensors")


def test_files_that_are_not_weights_are_refused(srgan, photos, tmp_path):
    other, text, pickled = tmp_path / "other.safetensors", tmp_path / "text.safetensors", tmp_path / "old.pth"
    save_file(dict(x=torch.zeros(1)), other)
    text.write_text("hello", encoding="utf-8")
    torch.save(dict(x=1), pickled)
    for name, message in [
        (other, "not a generator"),
        (text, "not a safetensors file"),
        (pickled, "not a safetensors file"),
        ("nothing-here", "no such weights"),
        (photos, "neither"),
    ]:
        result = srgan("upscale", photos / "coffee.png", "-o", tmp_path / "out.png", "--weights", name)
        assert_one_error(result, message)
    assert not (tmp_path / "out.png").exists()


def test_default_weights_are_photo(srgan, photos, tmp_path):
    for name, options in dict(default=[], photo=["--weights", "photo"], srgan=["--weights", "srgan"]).items():
        assert srgan("upscale", photos / "coffee.png", "-o", tmp_path / f"{name}.png", *options).exit_code == 0
    default, photo, gan = ((tmp_path / f"{name}.png").read_bytes() for name in ("default", "photo", "srgan"))
    assert default == photo != gan


def test_missing_vgg_weights_are_named_before_the_first_step(srgan, photos, tmp_path):
    options = ("--preset", "paper", "--vgg", tmp_path / "none.safetensors")
    result = srgan("train", "--data", photos, "--out", tmp_path / "run", *options)
    assert_one_error(result, "--vgg", "none.safetensors")
    assert not (tmp_path / "run").exists()


# Usage

@pytest.mark.parametrize("arguments", [
    [],
    ["upscale"],
    ["upscale", "a.png"],
    ["upscale", "a.png", "-o", "b.png", "--tile", "0"],
    ["train", "--data", "x", "--out", "y", "--preset", "huge"],
    ["fly"],
])
def test_wrong_usage_exits_with_2(srgan, arguments):
    assert srgan(*arguments).exit_code == 2


@pytest.mark.parametrize("arguments, words", [
    (["upscale", "PHOTO", "-o", "out.png", "--scale", 3], ["a scale of 3", "2, 4 or 8"]),
    (["upscale", "clip.mp4", "-o", "-"], ["clip.mp4", "-o - writes a picture"]),
    (["compare", "WEIGHTS", "--photo", "PHOTO", "-o", "PHOTO"], ["is the source itself"]),
    (["train", "--data", "PHOTOS", "--out", "run", "--seed", 0, "--batch", 4, "--accumulate", 8], ["a batch of 4"]),
])
def test_messages_say_what_to_do(srgan, photos, weights, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").touch()
    photo = next(photos.iterdir())
    before = photo.read_bytes()
    paths = dict(PHOTO=photo, WEIGHTS=weights, PHOTOS=photos)
    result = srgan(*(paths.get(argument, argument) for argument in arguments))
    assert_one_error(result, *words)
    assert photo.read_bytes() == before


# Clips

@pytest.fixture
def clip(tmp_path):
    "Writes a one-second clip of one colour with ffmpeg and the options given."
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()

    def write(name, *options):
        source = ("-f", "lavfi", "-i", "color=0xC83C28:s=48x32:r=10:d=1")
        command = [ffmpeg, "-v", "error", *source, *options, (tmp_path / name).absolute()]
        subprocess.run(command, check=True)
        return tmp_path / name

    return write


def frames_of(path):
    "What ffmpeg says about a clip, the pixels of its middle frame, and the number of frames and seconds."
    from imageio_ffmpeg import count_frames_and_secs, read_frames
    about, *frames = read_frames(path)
    middle = np.frombuffer(frames[len(frames) // 2], np.uint8).reshape(-1, 3)
    return about, middle, count_frames_and_secs(path)


@pytest.mark.slow
def test_a_clip_with_uneven_frames_keeps_its_length(clip, tmp_path):
    "Half the frames come every tenth of a second, the others every fifth."
    timing = "setpts='if(lt(N,6),N/10,0.5+(N-5)/5)/TB'"
    source = clip("uneven.mp4", "-vf", timing, "-fps_mode", "vfr", "-enc_time_base", "1/1000")
    upscale_video(source, tmp_path / "large.mp4", Upscaler(Generator(1, 4), **CPU_FP32))
    _, before = frames_of(source)[2]
    _, after = frames_of(tmp_path / "large.mp4")[2]
    assert abs(after - before) < 0.25


@pytest.mark.slow
def test_a_clip_that_ends_in_the_middle_is_named(clip, tmp_path, monkeypatch, srgan):
    "The next clip is upscaled nevertheless."
    import imageio_ffmpeg
    read_whole = imageio_ffmpeg.read_frames

    def read_frames(path, **options):
        for k, frame in enumerate(read_whole(path, **options)):
            if k == 4 and "torn" in path:
                raise RuntimeError("End of file reached before full frame could be read.")
            yield frame

    monkeypatch.setattr(imageio_ffmpeg, "read_frames", read_frames)
    out, options = tmp_path / "large", ("--weights", "srresnet", "--device", "cpu")
    result = srgan("upscale", clip("torn.mp4"), clip("whole.mp4"), "-o", out, *options)
    assert_one_error(result, "torn.mp4", "gave up")
    assert [path.name for path in out.iterdir()] == ["whole.mp4"]


@pytest.mark.slow
def test_a_clip_keeps_its_colours_and_shape(clip, tmp_path, monkeypatch):
    """The result has the colour tags of the encoding used.

    Pixels that are not square become square. A colon in the name is part of the name.
    """
    monkeypatch.chdir(tmp_path)
    name = "12:30.mp4" if os.name == "posix" else "clip.mp4" # Windows allows no colon in a name
    clip(name, "-vf", "setsar=2,scale=out_color_matrix=bt709", "-colorspace", "bt709")
    upscale_video(name, "large.mp4", Upscaler.from_pretrained("srresnet", **CPU_FP32))
    about, pixels, _ = frames_of(tmp_path / "large.mp4")
    assert tuple(about["size"]) == (4 * 96, 4 * 32)
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    report = subprocess.run([ffmpeg, "-i", tmp_path / "large.mp4"], capture_output=True, text=True).stderr
    assert "bt709" in report
    assert np.abs(np.median(pixels, 0) - (200, 60, 40)).max() < 8
