"Bad input gets one clear line, never a traceback, and nothing half-written; unusual input works."
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file
import torch



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
    (photos / "text.jpg").write_text("not a photo")
    buffer = BytesIO(); Image.open(photos / "chelsea.png").save(buffer, "JPEG", quality=95)
    (photos / "half.jpg").write_bytes(buffer.getvalue()[:-2000])
    result = srgan("upscale", photos, "-o", tmp_path / "out", "--weights", weights)
    assert result.exit_code == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["astronaut.png", "chelsea.png", "coffee.png"]
    errors = result.stderr.strip().splitlines()
    assert len(errors) == 2 and "half.jpg" in errors[0] and "truncated" in errors[0] and "text.jpg" in errors[1]


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
    (photos / "text.jpg").write_text("not a photo")
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
    (tmp_path / "file").write_text("in the way")
    one_line(srgan("upscale", photos / "coffee.png", "-o", tmp_path / "file/out.png", "--weights", weights), "file")
    one_line(srgan("upscale", photos, "-o", tmp_path / "file", "--weights", weights), "file")
    one_line(srgan("upscale", photos / "coffee.png", "-o", tmp_path / "out.xyz", "--weights", weights), ".xyz")
    one_line(srgan("train", "--data", photos, "--out", tmp_path / "file/run", "--steps", 1), "file")
    assert (tmp_path / "file").read_text() == "in the way"


def test_existing_output_stays(srgan, photos, tmp_path, weights):
    (tmp_path / "out.png").write_text("precious")
    one_line(srgan("upscale", photos / "coffee.png", "-o", tmp_path / "out.png", "--weights", weights), "--overwrite")
    assert (tmp_path / "out.png").read_text() == "precious"
    one_line(srgan("upscale", photos / "coffee.png", "-o", photos / "coffee.png", "--weights", weights, "--overwrite"), "the source itself")


def test_weights_that_are_none(srgan, photos, tmp_path):
    other, text, pickled = tmp_path / "other.safetensors", tmp_path / "text.safetensors", tmp_path / "old.pth"
    save_file(dict(x=torch.zeros(1)), other); text.write_text("hello"); torch.save(dict(x=1), pickled)
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
