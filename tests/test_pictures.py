"Every picture that goes in comes out whole, upright and once, or it is named with the reason."
import subprocess

import numpy as np
import pytest
from PIL import ExifTags, Image

from srgan_nb.data import PhotoStore, find_photos
from srgan_nb.formats import find_files, kind_of, passed_over, picture_formats
from srgan_nb.generator import Generator
from srgan_nb.inference import Upscaler
from srgan_nb.media import upscale_video
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
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
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


# One list of formats, and nothing left out in silence

SUFFIXES = """jpg jpeg jfif jpe mpo png apng webp avif gif bmp dib tif tiff jp2 j2k tga ppm pgm pnm pcx sgi qoi
    ico""".split()


def names_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def one_of_each(tmp_path):
    "A folder with the same picture in every format."
    folder = tmp_path / "each"
    folder.mkdir()
    for suffix in SUFFIXES:
        picture = four_colours(48, 40).convert("L" if suffix == "pgm" else "RGB")
        picture.save(folder / f"{suffix}.{suffix}")
    return folder


def test_a_folder_holds_all_that_works_alone(srgan, one_of_each, tmp_path, weights):
    result = srgan("upscale", one_of_each, "-o", tmp_path / "large", "--weights", weights)
    assert (result.exit_code, result.stderr) == (0, "")
    assert names_in(tmp_path / "large") == sorted(f"{suffix}.png" for suffix in SUFFIXES)
    assert {path.suffix[1:] for path in find_photos(one_of_each)} == set(SUFFIXES)
    assert len(PhotoStore(one_of_each, 8, strict=True)) == len(SUFFIXES)
    evaluated = srgan("evaluate", one_of_each, "--weights", "bicubic")
    assert f"mean of {len(SUFFIXES)}" in evaluated.stdout


def test_names_do_not_decide_what_a_file_is(srgan, tmp_path, weights):
    "A PNG called .jpg, one without a suffix, one with an unknown suffix; TypeScript is not a transport stream."
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name in ("a.jpg", "b", "c.jpeg_large", "d.mp4"): four_colours().save(folder / name, "PNG")
    (folder / "code.ts").write_text("let x = 1", encoding="utf-8")
    assert {path.name: kind for path, kind in find_files(folder).items()} == {
        "a.jpg": "photo", "b": "photo", "c.jpeg_large": "photo", "d.mp4": "photo", "code.ts": None}
    result = srgan("upscale", folder, "-o", tmp_path / "large", "--weights", weights)
    assert result.exit_code == 0
    assert result.stderr == f"srgan: {folder}: passed over 1, not a photo or clip: code.ts\n"
    assert names_in(tmp_path / "large") == ["a.png", "b.png", "c.png", "d.png"]


def test_what_is_passed_over_is_counted_and_named_once(srgan, photos, tmp_path, weights):
    for name in ("notes.txt", "a.svg", "b.pdf", "c.xmp", "d.json", "e.html", "f.csv"):
        (photos / name).write_text("text", encoding="utf-8")
    (photos / ".hidden.png").write_bytes((photos / "coffee.png").read_bytes())
    (photos / ".DS_Store").write_bytes(b"Bud1")
    sentence = f"{photos}: passed over 8, not a photo: .hidden.png, a.svg, b.pdf, c.xmp, d.json and 3 more"
    assert passed_over(photos, "photo") == sentence
    for arguments in [
        ("upscale", photos, "-o", tmp_path / "large", "--weights", weights),
        ("evaluate", photos, "--weights", "bicubic"),
        ("train", "--data", photos, "--out", tmp_path / "run", "--steps", 1, "--stage", "srresnet", "--device", "cpu"),
    ]:
        result = srgan(*arguments)
        assert result.exit_code == 0
        assert result.stderr.count("passed over 8") == 1
    quiet = srgan("upscale", photos, "-o", tmp_path / "quiet", "--weights", weights, "--quiet")
    assert quiet.stderr == ""


def test_linked_folders_are_searched_once(photos, tmp_path):
    "A link to another disk counts. A link to the folder itself, to one in it or to one above it adds nothing."
    disk = tmp_path / "disk"
    disk.mkdir()
    four_colours().save(disk / "far.png")
    (photos / "in").mkdir()
    four_colours().save(photos / "in/near.png")
    for name, target in dict(a=photos / "in", far=disk, far2=disk, loop=photos, up=tmp_path).items():
        (photos / name).symlink_to(target, target_is_directory=True)
    (disk / "back").symlink_to(photos, target_is_directory=True)
    found = [path.relative_to(photos).as_posix() for path in find_photos(photos)]
    assert len(found) == 5
    assert "in/near.png" in found and len({"far/far.png", "far2/far.png"} & set(found)) == 1


HEADS = { # how files begin that ffmpeg reads
    "a.m4v": b"\0\0\0\x20ftypM4V ", "a.3gp": b"\0\0\0\x18ftyp3gp4", "a.mov": b"\0\0\0\x14ftypqt  ",
    "a.ts": (b"G" + bytes(187)) * 2, "a.m2ts": (bytes(4) + b"G" + bytes(187)) * 2, "a.mpg": b"\0\0\x01\xba",
    "a.wmv": b"0&\xb2u\x8ef\xcf\x11", "a.flv": b"FLV\x01", "a.mkv": b"\x1aE\xdf\xa3", "a.avi": b"RIFF\0\0\0\0AVI ",
}


@pytest.mark.parametrize("name", HEADS)
def test_clips_are_recognised_by_content(tmp_path, name):
    for path in (tmp_path / name, tmp_path / "no_suffix", tmp_path / "wrong.jpg"):
        path.write_bytes(HEADS[name])
        assert kind_of(path) == "clip"


def test_sound_is_no_clip(tmp_path):
    vorbis = b"OggS" + bytes(24) + b"\x01vorbis" + bytes(40)
    for name, head in {"a.m4a": b"\0\0\0\x20ftypM4A ", "a.ogg": vorbis}.items():
        (tmp_path / name).write_bytes(head)
        assert kind_of(tmp_path / name) is None


CONTAINERS = {"m4v": (), "3gp": (), "ts": (), "mpg": (), "wmv": (), "flv": (), "m2ts": (), "mov": (),
    "ogv": ("-c:v", "libtheora"), "webm": ("-c:v", "libvpx"), "dat": ("-f", "mpegts")}


@pytest.mark.slow
def test_a_season_of_clips_is_enlarged(srgan, tmp_path, weights):
    "In every container that ffmpeg writes here, in a folder, next to a photograph. None is trained or scored on."
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    season = tmp_path / "season"
    season.mkdir()
    four_colours().save(season / "photo.jpg")
    source = ("-f", "lavfi", "-i", "testsrc=s=176x144:r=25:d=0.2")
    for suffix, options in CONTAINERS.items():
        command = [ffmpeg, "-v", "error", *source, *options, season / f"{suffix}.{suffix}"]
        subprocess.run(command, check=True)
    result = srgan("upscale", season, "-o", tmp_path / "large", "--weights", weights, "--device", "cpu")
    assert (result.exit_code, result.stderr) == (0, "")
    assert names_in(tmp_path / "large") == sorted(["photo.png", *(f"{suffix}.mp4" for suffix in CONTAINERS)])
    assert f"passed over {len(CONTAINERS)}, not a photo" in srgan("evaluate", season, "--weights", "bicubic").stderr


@pytest.mark.parametrize("form, suffix", [("HEIF", "heic"), ("JXL", "jxl")])
def test_heic_and_jpeg_xl_come_with_an_extra(srgan, tmp_path, weights, form, suffix, monkeypatch):
    "With it they are pictures like others. Without it the sentence names it."
    if form not in picture_formats(): pytest.skip("needs the extra [formats]")
    folder = tmp_path / "phone"
    folder.mkdir()
    four_colours(64, 48).save(folder / f"a.{suffix}", form, quality=95)
    (folder / "b.jpg").write_bytes((folder / f"a.{suffix}").read_bytes())
    assert srgan("upscale", folder, "-o", tmp_path / "large", "--weights", weights).exit_code == 0
    assert names_in(tmp_path / "large") == ["a.png", "b.png"]
    plain = [name for name in picture_formats() if name != form]
    monkeypatch.setattr("srgan_nb.formats.picture_formats", lambda: plain)
    assert [kind_of(path) for path in folder.iterdir()] == ["photo", "photo"]
    result = srgan("upscale", folder, "-o", tmp_path / "without", "--weights", weights)
    assert result.exit_code == 1
    assert result.stderr.count("needs pip install 'srgan-nb[formats]'") == 2
    strict = srgan("train", "--data", folder, "--out", tmp_path / "run", "--strict")
    assert strict.exit_code == 1 and "srgan-nb[formats]" in strict.stderr
