"Every picture that goes in comes out whole, upright and once, or it is named with the reason."
import numpy as np
import pytest
from PIL import ExifTags, Image

from srgan_nb.data import PhotoStore
from srgan_nb.utils import open_photo

from conftest import CPU_FP32

TURNS = { # EXIF's orientation -> what turns the stored pixels upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def four_colours(width=24, height=16):
    "A picture whose corners differ, so that every turn shows: red, green, blue, white."
    corners = Image.new("RGB", (2, 2))
    corners.putdata([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)])
    return corners.resize((width, height), Image.NEAREST)


def exif_of(orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def assert_alike(picture, expected, tolerance=0):
    "The same size, and no pixel differs by more levels than `tolerance`."
    assert picture.size == expected.size
    difference = np.asarray(picture.convert("RGB"), int) - np.asarray(expected.convert("RGB"), int)
    assert np.abs(difference).max() <= tolerance


# Corrections that somebody else has already made

@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("suffix, options", [
    ("png", {}),
    ("tif", {}),
    ("jpg", dict(quality=100, subsampling=0)),
    ("webp", dict(lossless=True)),
    ("avif", dict(quality=100, subsampling="4:4:4")),
])
def test_every_orientation_is_undone_once(tmp_path, orientation, suffix, options):
    path = tmp_path / f"turned.{suffix}"
    four_colours().save(path, exif=exif_of(orientation), **options)
    assert_alike(open_photo(path), four_colours().transpose(TURNS[orientation]), 8)


def test_a_tiff_with_the_orientation_in_exif_and_xmp_is_turned_once(tmp_path):
    "As photo editors write it."
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    for name, exif in dict(both=exif_of(6), one=Image.Exif()).items():
        exif[ExifTags.Base.XMLPacket] = xmp
        path = tmp_path / f"{name}.tif"
        four_colours().save(path, exif=exif)
        assert_alike(open_photo(path), four_colours().transpose(TURNS[6]))


def test_a_turned_tiff_is_upright_in_every_command(srgan, tmp_path, weights):
    "`upscale`, `evaluate` with LR files, `compare` and the photos of a training run."
    (tmp_path / "hr").mkdir()
    (tmp_path / "lr").mkdir()
    turned, upright = tmp_path / "hr/a.tif", four_colours(64, 96)
    upright.transpose(Image.Transpose.ROTATE_90).save(turned, exif=exif_of(6))
    upright.resize((16, 24), Image.BICUBIC).save(tmp_path / "lr/a.png")
    upright.save(tmp_path / "upright.png")
    for name, source in dict(turned=turned, upright=tmp_path / "upright.png").items():
        assert srgan("upscale", source, "-o", tmp_path / f"{name}-large.png", "--weights", weights).exit_code == 0
        figure = ("--photo", source, "--device", "cpu", "-o", tmp_path / f"{name}-figure.png")
        assert srgan("compare", weights, *figure).exit_code == 0
    for kind in ("large", "figure"):
        assert_alike(Image.open(tmp_path / f"turned-{kind}.png"), Image.open(tmp_path / f"upright-{kind}.png"))
    result = srgan("evaluate", tmp_path / "hr", "--lr-dir", tmp_path / "lr", "--weights", "bicubic")
    assert result.exit_code == 0, result.stderr
    assert np.array_equal(PhotoStore(tmp_path / "hr", 32).pixels[0], np.asarray(upright))


@pytest.mark.slow
@pytest.mark.parametrize("angle, size", [(90, (128, 256)), (180, (256, 128)), (270, (128, 256))])
def test_a_turned_clip_is_turned_once(tmp_path, angle, size):
    "The angle is in the container; ffmpeg undoes it while it reads."
    import subprocess
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    from srgan_nb.generator import Generator
    from srgan_nb.inference import Upscaler
    from srgan_nb.media import upscale_video
    command = [ffmpeg.get_ffmpeg_exe(), "-v", "error"]
    source = ("-f", "lavfi", "-i", "color=red:s=64x32:r=5:d=1")
    subprocess.run([*command, *source, tmp_path / "plain.mp4"], check=True)
    turn = ("-display_rotation", str(angle), "-i", tmp_path / "plain.mp4", "-c", "copy")
    subprocess.run([*command, *turn, tmp_path / "turned.mp4"], check=True)
    upscale_video(tmp_path / "turned.mp4", tmp_path / "large.mp4", Upscaler(Generator(1, 4), **CPU_FP32))
    reader = ffmpeg.read_frames(tmp_path / "large.mp4")
    about = next(reader)
    reader.close()
    assert tuple(about["size"]) == size
    assert not about["rotate"]
