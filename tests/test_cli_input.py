"Bad input gets one clear line, never a traceback, and nothing half-written; unusual input works."
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

from conftest import disc
from srgan_nb.generator import Generator, load_generator, save_generator
from srgan_nb.inference import Upscaler, upscale_video
from srgan_nb.utils import open_photo



def one_line(result, *words):
    "Exit code 1 and one line on stderr that says all of `words`."
    assert result.exit_code == 1
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    for word in words: assert str(word) in lines[0]


def test_no_such_file(srgan, tmp_path, weights):
    one_line(srgan("upscale", tmp_path / "none.png", "-o", tmp_path / "out.png", "--weights", weights), "none.png", "no such file")
    assert not (tmp_path / "out.png").exists()


def test_empty_folder(srgan, tmp_path, weights):
    (tmp_path / "empty").mkdir()
    one_line(srgan("upscale", tmp_path / "empty", "-o", tmp_path / "out", "--weights", weights), "no photos")
    one_line(srgan("train", "--data", tmp_path / "empty", "--out", tmp_path / "run"), "no photos")
    one_line(srgan("evaluate", tmp_path / "empty", "--weights", "bicubic"), "no photos")
    assert not (tmp_path / "out").exists() and not (tmp_path / "run").exists()


def test_broken_photos_are_named_and_the_others_done(srgan, photos, tmp_path, weights):
    (photos / "text.jpg").write_text("not a photo", encoding="utf-8")
    buffer = BytesIO(); Image.open(photos / "chelsea.png").save(buffer, "JPEG", quality=95)
    (photos / "half.jpg").write_bytes(buffer.getvalue()[:-2000])
    result = srgan("upscale", photos, "-o", tmp_path / "out", "--weights", weights)
    assert result.exit_code == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["astronaut.png", "chelsea.png", "coffee.png"]
    errors = result.stderr.strip().splitlines()
    assert len(errors) == 2 and "half.jpg" in errors[0] and "truncated" in errors[0] and "text.jpg" in errors[1]


def test_decoders_may_raise_what_they_like(srgan, photos, tmp_path, weights, monkeypatch):
    "Pillow's AVIF decoder raises RuntimeError, others NotImplementedError or AttributeError."
    load = PngImageFile.load
    def picky(self):
        if Path(self.filename).name == "broken.png": raise RuntimeError("Decoding of color planes failed")
        return load(self)
    monkeypatch.setattr(PngImageFile, "load", picky)
    (photos / "broken.png").write_bytes((photos / "coffee.png").read_bytes())
    result = srgan("upscale", photos, "-o", tmp_path / "out", "--weights", weights)
    assert result.exit_code == 1 and "broken.png: cannot be decoded: Decoding of color planes failed" in result.stderr
    assert (tmp_path / "out/coffee.png").is_file()


@pytest.mark.parametrize("changes", [{258: 12, 279: 24}, {262: 0}, {339: 2}], ids=["12 bits", "white is zero", "signed"])
def test_other_depths_are_refused_rather_than_guessed(tmp_path, changes):
    "A TIFF of 4 x 4 pixels by hand: its tags, then its pixels."
    tags = {256: 4, 257: 4, 258: 16, 259: 1, 262: 1, 273: 134, 277: 1, 278: 4, 279: 32, 339: 1} | changes
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags.items())
    (tmp_path / "a.tif").write_bytes(struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + bytes(range(32)))
    assert Image.open(tmp_path / "a.tif").mode.startswith("I")
    with pytest.raises(ValueError, match="not 16 bits from black to white"): open_photo(tmp_path / "a.tif")


@pytest.mark.parametrize("padding", [3, -3])
def test_a_profile_of_the_wrong_length_spoils_nothing(srgan, photos, tmp_path, weights, padding):
    "One that is padded goes along without its padding, one that is cut stays behind."
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.open(photos / "coffee.png").convert("RGB").save(photos / "a.jpg", icc_profile=profile + b"xyz" if padding > 0 else profile[:padding])
    assert srgan("upscale", photos / "a.jpg", "-o", tmp_path / "large.png", "--weights", weights).exit_code == 0
    assert Image.open(tmp_path / "large.png").info.get("icc_profile") == (profile if padding > 0 else None)


@pytest.mark.parametrize("name", ["large.ico", "large.pdf", "large"])
def test_formats_that_hold_no_photograph_are_refused(srgan, photos, tmp_path, weights, name):
    result = srgan("upscale", photos / "coffee.png", "-o", tmp_path / name, "--weights", weights)
    assert result.exit_code == 1 and "use .png" in result.stderr and not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["./typo", "../typo", "typo/", "~/typo"])
def test_a_mistyped_run_is_no_hub_id(name):
    with pytest.raises(ValueError, match="no such weights"): load_generator(name)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    generator = Generator(1, 4)
    torch.nn.init.constant_(generator.tail.bias, float("nan"))
    save_generator(generator, tmp_path / "nan.safetensors")
    with pytest.raises(ValueError, match="no numbers"): load_generator(tmp_path / "nan.safetensors")


def test_figures_need_a_name_with_a_format(srgan, tmp_path):
    result = srgan("compare", "srgan", "-o", tmp_path / "figure")
    assert result.exit_code == 1 and "picture's name" in result.stderr and list(tmp_path.iterdir()) == []


def test_photos_smaller_than_the_crop(srgan, photos, tmp_path):
    Image.new("RGB", (200, 40)).save(photos / "low.png")
    result = srgan("train", "--data", photos, "--out", tmp_path / "run", "--steps", 1, "--stage", "srresnet", "--device", "cpu")
    assert result.exit_code == 0 and "skipped low.png: 200 x 40 pixels, smaller than the crop of 48" in result.output


def test_no_usable_photo_is_an_error(srgan, tmp_path):
    (tmp_path / "small").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "small/a.png")
    result = srgan("train", "--data", tmp_path / "small", "--out", tmp_path / "run")
    assert result.exit_code == 1 and "smaller than the crop" in result.stderr and not (tmp_path / "run").exists()


def test_strict_refuses(srgan, photos, tmp_path):
    (photos / "text.jpg").write_text("not a photo", encoding="utf-8")
    result = srgan("train", "--data", photos, "--out", tmp_path / "run", "--strict")
    assert result.exit_code == 1 and "text.jpg" in result.stderr and not (tmp_path / "run").exists()


@pytest.mark.parametrize("mode, expected", [("1", "L"), ("L", "L"), ("LA", "LA"), ("P", "RGB"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("I;16", "L")])
def test_every_mode(srgan, photos, tmp_path, weights, mode, expected):
    image = Image.open(photos / "coffee.png").resize((24, 17))
    image = image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)
    image.save(tmp_path / "in.png")
    assert srgan("upscale", tmp_path / "in.png", "-o", tmp_path / "out.png", "--weights", weights).exit_code == 0
    out = Image.open(tmp_path / "out.png")
    assert (out.mode, out.size) == (expected, (96, 68))


def test_cmyk_and_alpha(srgan, photos, tmp_path, weights):
    image = Image.open(photos / "coffee.png").resize((24, 17))
    image.convert("CMYK").save(tmp_path / "print.jpg")
    assert srgan("upscale", tmp_path / "print.jpg", "-o", tmp_path / "print.png", "--weights", weights).exit_code == 0
    assert Image.open(tmp_path / "print.png").mode == "RGB"
    alpha = Image.linear_gradient("L").resize(image.size)
    image.putalpha(alpha); image.save(tmp_path / "veil.png")
    assert srgan("upscale", tmp_path / "veil.png", "-o", tmp_path / "large.png", "--weights", weights).exit_code == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "large.png").getchannel("A")), np.asarray(alpha.resize((96, 68), Image.BICUBIC)))


def test_output_that_cannot_be_written(srgan, photos, tmp_path, weights):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    one_line(srgan("upscale", photos / "coffee.png", "-o", tmp_path / "file/out.png", "--weights", weights), "file")
    one_line(srgan("upscale", photos, "-o", tmp_path / "file", "--weights", weights), "file")
    one_line(srgan("upscale", photos / "coffee.png", "-o", tmp_path / "out.xyz", "--weights", weights), ".xyz")
    one_line(srgan("train", "--data", photos, "--out", tmp_path / "file/run", "--steps", 1), "file")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "in the way"


def test_existing_output_stays(srgan, photos, tmp_path, weights):
    (tmp_path / "out.png").write_text("precious", encoding="utf-8")
    one_line(srgan("upscale", photos / "coffee.png", "-o", tmp_path / "out.png", "--weights", weights), "--overwrite")
    assert (tmp_path / "out.png").read_text(encoding="utf-8") == "precious"
    one_line(srgan("upscale", photos / "coffee.png", "-o", photos / "coffee.png", "--weights", weights, "--overwrite"), "the source itself")


def test_weights_that_are_none(srgan, photos, tmp_path):
    other, text, pickled = tmp_path / "other.safetensors", tmp_path / "text.safetensors", tmp_path / "old.pth"
    save_file(dict(x=torch.zeros(1)), other); text.write_text("hello", encoding="utf-8"); torch.save(dict(x=1), pickled)
    for name, word in ((other, "not a generator"), (text, "not a safetensors file"), (pickled, "not a safetensors file"), ("nothing-here", "no such weights"), (photos, "neither")):
        one_line(srgan("upscale", photos / "coffee.png", "-o", tmp_path / "out.png", "--weights", name), word)
    assert not (tmp_path / "out.png").exists()


def test_default_weights_are_srgan(srgan, photos, tmp_path):
    for name, options in dict(default=[], srgan=["--weights", "srgan"], srresnet=["--weights", "srresnet"]).items():
        assert srgan("upscale", photos / "coffee.png", "-o", tmp_path / f"{name}.png", *options).exit_code == 0
    same, other = ((tmp_path / f"{name}.png").read_bytes() for name in ("srgan", "srresnet"))
    assert (tmp_path / "default.png").read_bytes() == same != other


@pytest.mark.parametrize("arguments", [[], ["upscale"], ["upscale", "a.png"], ["upscale", "a.png", "-o", "b.png", "--tile", "0"], ["train", "--data", "x", "--out", "y", "--preset", "huge"], ["fly"]])
def test_wrong_usage_exits_with_2(srgan, arguments):
    assert srgan(*arguments).exit_code == 2


def test_vgg_is_missed_before_the_first_step(srgan, photos, tmp_path):
    one_line(srgan("train", "--data", photos, "--out", tmp_path / "run", "--preset", "paper", "--vgg", tmp_path / "none.safetensors"), "--vgg", "none.safetensors")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arguments, words", [
    (["upscale", "PHOTO", "-o", "out.png", "--scale", 3], ["a scale of 3", "2, 4 or 8"]),
    (["upscale", "clip.mp4", "-o", "-"], ["clip.mp4", "-o - writes a picture"]),
    (["compare", "WEIGHTS", "--photo", "PHOTO", "-o", "PHOTO"], ["is the source itself"]),
    (["train", "--data", "PHOTOS", "--out", "run", "--seed", 0, "--batch", 4, "--accumulate", 8], ["a batch of 4"]),
])
def test_messages_say_what_to_do(srgan, photos, weights, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    photo = next(photos.iterdir()); before = photo.read_bytes(); (tmp_path / "clip.mp4").touch()
    given = dict(PHOTO=photo, WEIGHTS=weights, PHOTOS=photos)
    one_line(srgan(*(given.get(argument, argument) for argument in arguments)), *words)
    assert photo.read_bytes() == before


def test_no_result_replaces_another_original(srgan, photos, weights):
    "a.jpg's would be a.png, which is to be enlarged as well."
    photo = Image.open(next(photos.iterdir()))
    for path in photos.iterdir(): path.unlink()
    photo.save(photos / "a.jpg"); photo.save(photos / "a.png"); before = (photos / "a.png").read_bytes()
    one_line(srgan("upscale", photos, "-o", photos, "--overwrite", "--weights", weights), photos / "a.jpg", "would replace", "another folder")
    assert (photos / "a.png").read_bytes() == before and len(list(photos.iterdir())) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFO on Windows")
def test_figures_go_into_a_pipe(srgan, photos, weights, tmp_path):
    os.mkfifo(pipe := tmp_path / "pipe")
    with open(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), encoding="utf-8") as reader: # opens without a writer
        assert srgan("evaluate", photos, "--weights", weights, "--json", pipe).exit_code == 0
        assert json.load(reader)["n"] == 3 and pipe.is_fifo()


@pytest.mark.skipif(sys.platform != "linux", reason="only here a name may be any bytes")
def test_a_name_that_is_no_text(photos, weights, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    next(photos.iterdir()).rename(photos / name)
    done = subprocess.run([sys.executable, "-m", "srgan_nb.cli", "upscale", photos, "-o", tmp_path / "large", "--weights", weights], env=os.environ | dict(PYTHONIOENCODING="utf-8:strict"), capture_output=True)
    assert done.returncode == 0 and b"caf\xe9.png" in done.stdout, done.stderr
    assert sorted(path.name for path in (tmp_path / "large").iterdir()) == sorted(path.name for path in photos.iterdir())


def test_edges_beside_nothing_do_not_darken():
    "A red disc on black that does not show: where the result shines through, it is red all the same."
    upscaler = Upscaler.from_pretrained("srresnet", device="cpu", precision="fp32")
    large = np.asarray(upscaler(disc(40, 15)))
    half = (large[..., 3] > 100) & (large[..., 3] < 156)
    assert half.any() and (large[half][:, 0] > 235).all()


@pytest.fixture
def clip(tmp_path):
    "Writes a clip of one colour, by ffmpeg and with its options."
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    def write(name, *options):
        subprocess.run([ffmpeg, "-v", "error", "-f", "lavfi", "-i", "color=0xC83C28:s=48x32:r=10:d=1", *options, (tmp_path / name).absolute()], check=True)
        return tmp_path / name
    return write


def frames_of(path):
    from imageio_ffmpeg import count_frames_and_secs, read_frames
    about, *frames = read_frames(path)
    return about, np.frombuffer(frames[len(frames) // 2], np.uint8).reshape(-1, 3), count_frames_and_secs(path)


def test_a_clip_keeps_its_length_where_frames_come_unevenly(clip, tmp_path):
    "A frame each tenth of a second, then one each fifth."
    source = clip("uneven.mp4", "-vf", "setpts='if(lt(N,6),N/10,0.5+(N-5)/5)/TB'", "-fps_mode", "vfr", "-enc_time_base", "1/1000")
    upscale_video(source, tmp_path / "large.mp4", Upscaler(Generator(1, 4), device="cpu", precision="fp32"))
    (_, before), (_, after) = frames_of(source)[2], frames_of(tmp_path / "large.mp4")[2]
    assert abs(after - before) < 0.25


def test_a_clip_that_ends_in_the_middle_is_named(clip, tmp_path, monkeypatch, srgan):
    "And the next one is done."
    import imageio_ffmpeg
    whole = imageio_ffmpeg.read_frames
    def read_frames(path, **options):
        for k, frame in enumerate(whole(path, **options)):
            if k == 4 and "torn" in path: raise RuntimeError("End of file reached before full frame could be read.")
            yield frame
    monkeypatch.setattr(imageio_ffmpeg, "read_frames", read_frames)
    result = srgan("upscale", clip("torn.mp4"), clip("whole.mp4"), "-o", tmp_path / "large", "--weights", "srresnet", "--device", "cpu")
    one_line(result, "torn.mp4", "gave up")
    assert [path.name for path in (tmp_path / "large").iterdir()] == ["whole.mp4"]


def test_a_clip_keeps_its_colours_and_shape(clip, tmp_path, monkeypatch):
    "Tagged as what it is written in; pixels that are not square become square; a colon in a name is a colon."
    monkeypatch.chdir(tmp_path)
    name = "12:30.mp4" if os.name == "posix" else "clip.mp4" # where a colon may be in a name
    clip(name, "-vf", "setsar=2,scale=out_color_matrix=bt709", "-colorspace", "bt709")
    upscale_video(name, "large.mp4", Upscaler.from_pretrained("srresnet", device="cpu", precision="fp32"))
    about, pixels, _ = frames_of(tmp_path / "large.mp4")
    assert tuple(about["size"]) == (4 * 96, 4 * 32)
    said = subprocess.run([pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe(), "-i", tmp_path / "large.mp4"], capture_output=True, text=True).stderr
    assert "bt709" in said and np.abs(np.median(pixels, 0) - (200, 60, 40)).max() < 8
