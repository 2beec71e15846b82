"Every picture that goes in comes out whole, upright and once, or it is named with the reason."
import json
import logging
import os
import re
import shutil
import struct
import subprocess
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, PngImagePlugin, TiffImagePlugin
from typer.testing import CliRunner

from srgan_nb.cli import app
from srgan_nb.data import PhotoStore, find_partners, find_photos, sample_photos
from srgan_nb.formats import NotKept, find_files, kind_of, passed_over, picture_formats
from srgan_nb.generator import Generator
from srgan_nb.inference import Upscaler
from srgan_nb.media import upscale_file, upscale_video
from srgan_nb.paths import expand_paths, output_paths, photos_in
from srgan_nb.utils import open_pages, open_photo

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
    ("heic", dict(quality=100, chroma=444)),
    ("jxl", dict(lossless=True)),
])
def test_every_orientation_is_undone_once(tmp_path, orientation, suffix, options):
    form = dict(heic="HEIF", jxl="JXL").get(suffix, "PNG")
    if form not in picture_formats(): pytest.skip("needs the extra [formats]")
    path = tmp_path / f"turned.{suffix}"
    four_colours(48, 32).save(path, exif=exif_of(orientation).tobytes(), **options)
    assert_alike(open_photo(path), four_colours(48, 32).transpose(TURNS[orientation]), 8)


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


def test_text_is_no_clip(tmp_path):
    "Four letters in the right place make no container."
    for text in ("the free encyclopedia", "buy wide screens", "may skip this"):
        (tmp_path / "README").write_text(text, encoding="utf-8")
        assert kind_of(tmp_path / "README") is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_a_folder_is_not_waited_for(srgan, photos, tmp_path, weights):
    os.mkfifo(photos / "pipe.jpg")
    result = srgan("upscale", photos, photos, "-o", tmp_path / "out", "--weights", weights)
    assert result.exit_code == 0
    assert result.stderr == f"srgan: {photos}: passed over 1, not a photo or clip: pipe.jpg\n" # the folder once
    assert "not a regular file" in srgan("upscale", photos / "pipe.jpg", "-o", tmp_path / "a.png").stderr


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


# Names that depend on the photo alone

COLOURS = dict(a="red", b="green", c="blue", d="white")


def write_colours(folder, names):
    "A small picture for each name, in the colour of its first letter."
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), COLOURS[name[0]]).save(folder / name)


def source_colours(folder):
    "Each result, and the letter of the colour that it has most of: by the networks' arithmetic, not exactly."
    colours = {}
    for name in names_in(folder):
        pixel = np.asarray(Image.open(folder / name).convert("RGB").resize((1, 1), Image.BOX), int)[0, 0]
        distance = {key: np.abs(pixel - Image.new("RGB", (1, 1), value).getpixel((0, 0))).sum()
            for key, value in COLOURS.items()}
        colours[name] = min(distance, key=distance.get)
    return colours


@pytest.mark.parametrize("how", ["folder", "pattern", "files", "folders"])
def test_a_photo_added_later_is_not_taken_for_another(srgan, tmp_path, monkeypatch, how):
    "a/cat.png and c/cat.png are enlarged, then b/cat.png is added."
    monkeypatch.chdir(tmp_path)
    def upscale(*letters):
        inputs = dict(folder=["in"], pattern=["in/*/cat.png"], files=[f"in/{letter}/cat.png" for letter in letters],
            folders=[f"in/{letter}" for letter in letters])[how]
        return srgan("upscale", *inputs, "-o", "out", "--skip-existing", "--weights", "srresnet", "--device", "cpu")

    for letters in ("ac", "abc"):
        for letter in letters: # the colour of the folder
            Path("in", letter).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), COLOURS[letter]).save(f"in/{letter}/cat.png")
        assert upscale(*letters).exit_code == 0
    assert source_colours(tmp_path / "out") == {f"{letter}/cat.png": letter for letter in "abc"}


def test_results_are_in_mirrored_sub_folders(srgan, tmp_path, weights):
    names = ["a.png", "2024/a.png", "2024/may/a.png", "2024/may/b.jpg", "b.jpg", "b.png"]
    write_colours(tmp_path / "in", [name for name in names if not name.startswith("2")])
    for name in names[1:4]:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "in" / name)
    assert srgan("upscale", tmp_path / "in", "-o", tmp_path / "out", "--weights", weights).exit_code == 0
    expected = ["2024/a.png", "2024/may/a.png", "2024/may/b.png", "a.png", "b_jpg.png", "b_png.png"]
    assert names_in(tmp_path / "out") == sorted(expected)


def test_names_do_not_depend_on_the_order():
    photos = ["x/cat.jpg", "x/cat.png", "y/cat.png", "x/dog.png", "y/CAT.gif", "z/caf\u00e9.png", "z/cafe\u0301.jpg"]
    forwards = dict(zip(photos, output_paths(photos, "out/")))
    backwards = dict(zip(photos[::-1], output_paths(photos[::-1], "out/")))
    assert forwards == backwards
    assert len({str(path).casefold() for path in forwards.values()}) == len(photos)


@pytest.mark.parametrize("out", ["a_results", "z_results", "deep/er"])
@pytest.mark.parametrize("given", ["in", "in/**", "in/*"])
def test_results_inside_the_input_folder_are_no_input(srgan, tmp_path, monkeypatch, weights, out, given):
    monkeypatch.chdir(tmp_path)
    write_colours(Path("in"), ["b.png", "c/d.png"])
    before = set()
    for _ in range(2):
        result = srgan("upscale", given, "-o", f"in/{out}", "--overwrite", "--weights", weights)
        assert result.exit_code == 0, result.stderr
        names = set(names_in(tmp_path / "in" / out))
        assert len(names) == 2 and (not before or names == before)
        before = names


def test_results_among_the_photos_are_refused(srgan, tmp_path, weights):
    write_colours(tmp_path / "in", ["a.jpg"])
    result = srgan("upscale", tmp_path / "in", "-o", tmp_path / "in", "--weights", weights)
    assert result.exit_code == 1 and "choose another folder" in result.stderr
    assert names_in(tmp_path / "in") == ["a.jpg"]


def test_the_existing_parts_of_a_pattern_are_literal(tmp_path):
    "A folder called `trip [2019]` is not `trip 2`."
    write_colours(tmp_path, ["a/trip [2019]/a.jpg", "a/trip 2/b.jpg", "a/trip [2019]/in/[1].png", "a/x/in/1.png"])
    def match(pattern):
        return [path.relative_to(tmp_path / "a").as_posix() for path in expand_paths([tmp_path / "a" / pattern], None)]

    assert match("trip [2019]/*.jpg") == ["trip [2019]/a.jpg"]
    assert match("trip*/*.jpg") == ["trip 2/b.jpg", "trip [2019]/a.jpg"]
    assert match("*/in/[1].png") == ["trip [2019]/in/[1].png", "x/in/1.png"]
    assert match("**/*.png") == ["trip [2019]/in/[1].png", "x/in/1.png"]
    with pytest.raises(ValueError, match="nothing matches"): match("trip [2019]/*.gif")


def test_a_photo_named_twice_is_done_once(srgan, tmp_path, monkeypatch, weights):
    monkeypatch.chdir(tmp_path)
    write_colours(Path("in"), ["a.png", "b.png"])
    (tmp_path / "link").symlink_to("in", target_is_directory=True)
    given = ["in/a.png", "in", "./in/../in/a.png", tmp_path / "in/a.png", "link/a.png", "in/*.png"]
    assert sorted(path.name for path in photos_in(expand_paths(given, None))) == ["a.png", "b.png"]
    result = srgan("upscale", *given, "-o", "out", "--weights", weights)
    assert result.stdout.splitlines() == [str(Path("out/a.png")), str(Path("out/b.png"))]


def test_a_half_done_folder_goes_on(srgan, photos, tmp_path, weights):
    command = ("upscale", photos, "-o", tmp_path / "out", "--weights", weights)
    assert srgan(*command).exit_code == 0
    (tmp_path / "out/coffee.png").unlink()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    result = srgan(*command, "--skip-existing")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'out/coffee.png'}\n")
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert srgan(*command, "--skip-existing", "--overwrite").exit_code == 2
    (tmp_path / "out/coffee.png").write_bytes(b"") # of another program that was killed, or a full disk
    assert srgan(*command, "--skip-existing").exit_code == 0
    assert Image.open(tmp_path / "out/coffee.png").size == (480, 400)


def test_an_empty_name_is_not_the_current_folder(srgan, tmp_path, weights):
    "As a shell gives it for a variable that isn't set."
    result = srgan("upscale", "", "-o", tmp_path / "out/", "--weights", weights)
    assert result.exit_code == 1 and "an empty name" in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="Windows allows no such names")
def test_names_that_begin_with_a_hyphen_or_hold_brackets(srgan, tmp_path, monkeypatch, weights):
    monkeypatch.chdir(tmp_path)
    names = ["-", "-a.png", "--overwrite.png", "[1].png", "a*b?.png", "%d.png", " .png", "a:b.png"]
    Path("in").mkdir()
    for name in names: Image.new("RGB", (8, 8), "red").save(f"in/{name}", "PNG")
    assert srgan("upscale", "in", "-o", "-out/", "--weights", weights).exit_code == 0
    expected = ["-.png", *names[1:]]
    assert names_in(tmp_path / "-out") == sorted(expected)
    monkeypatch.chdir(tmp_path / "in")
    options = ("-o", "../out/", "--weights", weights)
    assert srgan("upscale", *options, "--", "./-", "-a.png", "[1].png", "a*b?.png").exit_code == 0
    assert names_in(tmp_path / "out") == ["-.png", "-a.png", "[1].png", "a*b?.png"]


PAIRS = { # HR -> its LR partner at a scale of 4
    "REDS": {"000/00000000.png": "000/00000000.png", "001/00000000.png": "001/00000000.png"},
    "another root": {"train/000/0.png": "X4/000/0.png", "train/001/0.png": "X4/001/0.png"},
    "DIV2K": {"0001.png": "0001x4.png", "0002.png": "sub/0002x4.jpg"},
    "_HR and _LR": {"baby_HR.png": "baby_LR.png", "bird_HR.bmp": "bird_LR.bmp"},
    "SelfExSR": {"img_001_SRF_4_HR.png": "img_001_SRF_4_LR.png", "img_002_SRF_4_HR.png": "img_002_SRF_4_LR.png"},
    "RealSR": {"Canon_001_HR.png": "Canon_001_LR4.png"},
    "an outer folder": {"a/1.png": "a/1x4.png", "1.png": "1x4.png"},
}


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_are_found_by_path_and_then_by_name(tmp_path, name):
    pairs = PAIRS[name]
    for hr, lr in pairs.items():
        for path in (tmp_path / "hr" / hr, tmp_path / "lr" / lr):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    others = [path for path in ("lr/0001x2.png", "lr/img_001_SRF_2_LR.png", "lr/baby.txt")]
    for path in others: (tmp_path / path).touch()
    expected = {tmp_path / "hr" / hr: tmp_path / "lr" / lr for hr, lr in pairs.items()}
    assert find_partners(list(expected), tmp_path / "lr") == expected
    below = find_partners(list(pairs), tmp_path / "lr") # as a PhotoStore asks
    assert {path.as_posix(): lr.relative_to(tmp_path / "lr").as_posix() for path, lr in below.items()} == pairs


def test_photos_of_one_name_are_paired_and_reported_by_their_paths(srgan, tmp_path):
    for folder, colour in dict(a="red", b="green").items():
        for kind, side in dict(hr=64, lr=16).items():
            (tmp_path / kind / folder).mkdir(parents=True)
            Image.new("RGB", (side, side), colour).save(tmp_path / kind / folder / "1.png")
    result = srgan("evaluate", tmp_path / "hr", "--lr-dir", tmp_path / "lr", "--weights", "bicubic")
    assert result.exit_code == 0, result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["a/1", "b/1", "mean"]
    train = ("train", "--data", tmp_path / "hr", "--out", tmp_path / "run", "--steps", 1, "--stage", "srresnet")
    assert srgan(*train, "--lr-dir", tmp_path / "lr", "--device", "cpu").exit_code == 0
    shutil.move(tmp_path / "lr/b", tmp_path / "lr/a/b") # now only the name tells
    assert srgan("evaluate", tmp_path / "hr", "--lr-dir", tmp_path / "lr", "--weights", "bicubic").exit_code == 0


# Parts of the input

def numbered(n, size=(12, 8)):
    "Pages whose grey tells their number."
    return [Image.new("RGB", size, (40 * k, 40 * k, 40 * k)) for k in range(n)]


@pytest.mark.parametrize("suffix, target", [("gif", "png"), ("webp", "webp"), ("apng", "png"), ("gif", "gif")])
def test_all_frames_of_an_animation_are_enlarged(srgan, tmp_path, suffix, target):
    source, large = tmp_path / f"a.{suffix}", tmp_path / f"large.{target}"
    first, *others = numbered(4)
    options = dict(lossless=True) if suffix == "webp" else {}
    first.save(source, save_all=True, append_images=others, duration=[100, 200, 300, 400], loop=0, **options)
    assert srgan("upscale", source, "-o", large, "--weights", "srresnet").exit_code == 0
    with Image.open(large) as result:
        assert (result.n_frames, result.size) == (4, (48, 32))
        assert result.info.get("loop") == 0
        times, greys = [], []
        for k in range(4):
            result.seek(k)
            result.load()
            times.append(result.info["duration"])
            greys.append(np.asarray(result.convert("RGB")).mean())
    assert times == [100, 200, 300, 400]
    assert np.abs(np.diff(greys) - 40).max() < 8


def test_an_animation_gets_nothing_it_never_had(tmp_path):
    "A still picture before an APNG is no frame of it. AVIF repeats for ever, and TIFF knows no times."
    first, *others = numbered(4)
    frames = dict(save_all=True, append_images=others)
    first.save(tmp_path / "a.png", default_image=True, duration=[100, 200, 300], **frames)
    assert notes(tmp_path / "a.png", tmp_path / "large.webp") == [
        "the still picture for programs without animation is left out"]
    assert Image.open(tmp_path / "large.webp").info["loop"] == 0
    with pytest.warns(NotKept): frames_of_a = list(open_pages(tmp_path / "a.png"))
    assert [frame.info["duration"] for frame in frames_of_a] == [100, 200, 300]
    first.save(tmp_path / "b.avif", duration=100, **frames)
    assert notes(tmp_path / "b.avif", tmp_path / "b.webp") == []
    assert Image.open(tmp_path / "b.webp").info["loop"] == 0
    assert notes(tmp_path / "b.avif", tmp_path / "large.avif") == []
    first.save(tmp_path / "c.gif", duration=100, **frames) # once
    assert notes(tmp_path / "c.gif", tmp_path / "large.avif") == ["AVIF repeats for ever"]
    assert notes(tmp_path / "c.gif", tmp_path / "large.tif") == ["TIFF cannot hold the times of its frames"]


def test_all_pages_of_a_document_are_enlarged(srgan, tmp_path, weights):
    "Of different sizes and modes. In a folder the result is a TIFF, and a small copy of a page is not a page."
    (tmp_path / "scans").mkdir()
    pages = [Image.new("L", (12, 8), 50), Image.new("RGB", (8, 8), "red"), Image.new("RGB", (3, 2))]
    small = TiffImagePlugin.ImageFileDirectory_v2()
    small[254] = 1
    with TiffImagePlugin.AppendingTiffWriter(tmp_path / "scans/a.tif", True) as writer:
        for page, tags in zip(pages, ({}, {}, small)):
            page.save(writer, "TIFF", tiffinfo=tags)
            writer.newFrame()
    assert srgan("upscale", tmp_path / "scans", "-o", tmp_path / "out", "--weights", weights).exit_code == 0
    with Image.open(tmp_path / "out/a.tif") as result:
        assert result.n_frames == 2
        sizes = [result.size]
        result.seek(1)
        assert [*sizes, result.size, result.mode] == [(48, 32), (32, 32), "RGB"]
    for name in ("a.png", "a.jpg"):
        result = srgan("upscale", tmp_path / "scans/a.tif", "-o", tmp_path / name, "--weights", weights)
        assert result.exit_code == 1 and "cannot hold the 2 pages" in result.stderr
        assert not (tmp_path / name).exists()


def test_one_picture_of_several_is_named(srgan, tmp_path, weights):
    "The second picture of an MPO, and the pages that evaluation and training do not see."
    folder = tmp_path / "in"
    folder.mkdir()
    first, second = numbered(2, (48, 48))
    first.save(folder / "a.mpo", save_all=True, append_images=[second])
    result = srgan("upscale", folder, "-o", tmp_path / "out", "--weights", weights)
    assert result.exit_code == 0
    assert result.stderr == f"srgan: {folder / 'a.mpo'}: 2 pictures in one file; only the first is used\n"
    first, second = numbered(2, (48, 48)) # new ones: Pillow leaves the encoder's settings in a saved picture
    first.save(folder / "b.tif", save_all=True, append_images=[second])
    result = srgan("evaluate", folder, "--weights", "bicubic")
    assert f"{folder / 'b.tif'}: 2 pages; only the first is used" in result.stderr
    assert result.exit_code == 0


def test_layers_and_sizes_are_no_pages(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.ico", sizes=[(16, 16), (64, 64)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_photo(tmp_path / "a.ico").size == (64, 64)


def write_deep(path, pixels):
    "A picture of 16 bits, grey or in colour, as TIFF or PNG."
    if path.suffix == ".tif": tifffile.imwrite(path, pixels, photometric="rgb" if pixels.ndim == 3 else "minisblack")
    else:
        pyvips = pytest.importorskip("pyvips")
        interpretation = "rgb16" if pixels.ndim == 3 else "grey16"
        pyvips.Image.new_from_array(pixels).copy(interpretation=interpretation).pngsave(str(path))


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
@pytest.mark.parametrize("shape", [(32, 32), (32, 32, 3)], ids=["grey", "colour"])
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_numbers_of_fewer_bits_in_16_are_refused(srgan, tmp_path, weights, bits, shape, suffix):
    pixels = np.random.default_rng(0).integers(0, 2**bits, shape).astype(np.uint16)
    pixels.flat[-1] = 2**bits - 1
    folder = tmp_path / "deep"
    folder.mkdir()
    write_deep(folder / f"a{suffix}", pixels)
    result = srgan("upscale", folder, "-o", tmp_path / "out", "--weights", weights)
    assert result.exit_code == (0 if bits == 16 else 1)
    if bits < 16: assert "stretch them first" in result.stderr
    assert PhotoStore(photos=dict(a=four_colours()) if bits < 16 else folder, crop=8)


def test_dark_pictures_that_are_unambiguous_are_taken(tmp_path):
    write_deep(tmp_path / "narrow.tif", np.full((8, 8), 200, np.uint16)) # 8 bits in 16
    assert np.asarray(open_photo(tmp_path / "narrow.tif")).max() == 200
    write_deep(tmp_path / "colours.tif", np.full((8, 8, 3), 200, np.uint16))
    with pytest.raises(ValueError, match="stretch them first"): open_photo(tmp_path / "colours.tif")
    write_deep(tmp_path / "black.tif", np.zeros((8, 8), np.uint16))
    write_deep(tmp_path / "widened.tif", np.full((8, 8), 30 * 257, np.uint16))
    assert np.asarray(open_photo(tmp_path / "black.tif")).max() == 0
    assert np.asarray(open_photo(tmp_path / "widened.tif")).max() == 30


@pytest.mark.parametrize("extra, mode", [(None, None), (0, None), (1, "RGBA"), (2, "RGBA")])
def test_only_transparency_is_taken_for_transparency(tmp_path, extra, mode):
    "A fourth band without a meaning may be infrared."
    pixels = np.full((8, 8, 4), 200, np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=[extra or 0], metadata=None)
    if extra is None: # without the tag: 338 becomes a tag of nobody's
        data = (tmp_path / "a.tif").read_bytes()
        (tmp_path / "a.tif").write_bytes(data.replace(struct.pack("<HH", 338, 3), struct.pack("<HH", 337, 3)))
    if mode: assert open_photo(tmp_path / "a.tif").mode == mode
    else:
        with pytest.raises(ValueError, match="neither colour nor transparency"): open_photo(tmp_path / "a.tif")


def test_a_tga_without_transparency_is_opaque(tmp_path):
    "Its fourth byte is not in use, and zero."
    picture = four_colours()
    picture.putalpha(0)
    picture.save(tmp_path / "a.tga")
    assert_alike(open_photo(tmp_path / "a.tga"), four_colours())
    assert open_photo(tmp_path / "a.tga").getchannel("A").getextrema() == (255, 255)


def test_tiffs_that_pillow_misreads_are_refused(tmp_path):
    "Signed levels, and 16 bits in separate planes. With 8 bits, or compressed, planes are no problem."
    signed = np.asarray(four_colours().convert("L")).astype(np.int8)
    tifffile.imwrite(tmp_path / "signed.tif", signed, photometric="minisblack")
    with pytest.raises(ValueError, match="not 16 bits from black to white"): open_photo(tmp_path / "signed.tif")
    planes = np.ascontiguousarray(np.asarray(four_colours()).transpose(2, 0, 1))
    layout = dict(photometric="rgb", planarconfig="separate")
    tifffile.imwrite(tmp_path / "8.tif", planes, **layout)
    assert_alike(open_photo(tmp_path / "8.tif"), four_colours())
    tifffile.imwrite(tmp_path / "16.tif", planes.astype(np.uint16) * 257, **layout)
    with pytest.raises(ValueError, match="separate planes"): open_photo(tmp_path / "16.tif")


def test_one_transparent_level_in_16_bits_is_refused(tmp_path):
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(tmp_path / "a.png", transparency=40000)
    assert Image.open(tmp_path / "a.png").info["transparency"] == 40000
    with pytest.raises(ValueError, match="one transparent level"): open_photo(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_inks_become_the_colours_of_their_profile(tmp_path, suffix):
    "As littlecms sees them; Pillow alone would be 20 levels off. A damaged profile is named and not used."
    pyvips = pytest.importorskip("pyvips")
    picture = pyvips.Image.new_from_array(np.asarray(four_colours(48, 32))).copy(interpretation="srgb")
    path = tmp_path / f"a.{suffix}"
    inks = picture.icc_transform("cmyk", input_profile="srgb")
    inks.write_to_file(str(path), **dict(Q=100) if suffix == "jpg" else {})
    inks = Image.open(path)
    press = inks.info["icc_profile"]
    transform = ImageCms.buildTransform(BytesIO(press), ImageCms.createProfile("sRGB"), "CMYK", "RGB")
    expected = ImageCms.applyTransform(inks, transform)
    opened = open_photo(path)
    assert_alike(opened, expected, 1)
    assert np.abs(np.asarray(inks.convert("RGB"), int) - np.asarray(expected, int)).mean() > 10
    assert "icc_profile" not in opened.info
    inks.save(tmp_path / "damaged.tif", icc_profile=press[:200])
    with pytest.warns(NotKept, match="profile"):
        upscale_file(tmp_path / "damaged.tif", tmp_path / "large.png", UPSCALER)


@pytest.mark.parametrize("tags", [{254: 1}, {50706: b"\1\4\0\0"}], ids=["a preview", "DNG"])
def test_the_preview_of_a_raw_file_is_refused(srgan, tmp_path, weights, tags):
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items(): info[tag] = value
    four_colours().save(tmp_path / "a.dng", "TIFF", tiffinfo=info)
    (tmp_path / "b.CR3").write_bytes(b"\0\0\0\x18ftypcrx ")
    result = srgan("upscale", tmp_path / "a.dng", tmp_path / "b.CR3", "-o", tmp_path / "out", "--weights", weights)
    assert result.exit_code == 1
    assert result.stderr.count("a camera's raw file") == 2


JOINED = dict(png={}, jpeg={}, bmp={}, webp={}, gif={}, ppm={})


@pytest.mark.parametrize("form", JOINED)
def test_several_pictures_in_a_pipe_are_refused(srgan, tmp_path, weights, form, monkeypatch):
    buffer = BytesIO()
    four_colours().save(buffer, form)
    one = buffer.getvalue()
    for data, code in ((one, 0), (one + one, 1)):
        arguments = ["upscale", "-", "-o", str(tmp_path / f"{code}.png"), "--weights", str(weights)]
        result = CliRunner().invoke(app, arguments, input=data)
        assert result.exit_code == code, result.stderr
    assert "several pictures; send one at a time" in result.stderr


@pytest.mark.parametrize("arguments", [
    ("train", "--data", "a", "--data", "b", "--out", "run"),
    ("upscale", "a.png", "-o", "b.png", "--out", "c.png"),
    ("evaluate", "a", "--lr-dir", "b", "--lr-dir", "c"),
    ("compare", "srgan", "-o", "a.png", "-o", "b.png"),
])
def test_an_option_given_twice_is_wrong_usage(srgan, arguments):
    result = srgan(*arguments)
    assert result.exit_code == 2 and "is given 2 times" in " ".join(result.stderr.split())


def test_invisible_colours_do_not_count(srgan, tmp_path):
    "The same picture, opaque on white, and with noise under its transparent parts."
    rng = np.random.default_rng(0)
    visible = np.asarray(sample_photos()["coffee"].crop((100, 100, 164, 164)))
    alpha = np.zeros((64, 64), np.uint8)
    alpha[:, :32] = 255
    opaque = np.where(alpha[..., None] > 0, visible, 255).astype(np.uint8)
    hidden = np.where(alpha[..., None] > 0, visible, rng.integers(0, 256, visible.shape)).astype(np.uint8)
    scores = {}
    for name, picture in dict(opaque=opaque, veiled=np.dstack([hidden, alpha])).items():
        (tmp_path / name).mkdir()
        Image.fromarray(picture).save(tmp_path / name / "a.png")
        result = srgan("evaluate", tmp_path / name, "--weights", "bicubic", "--json", "-")
        scores[name] = json.loads(result.stdout)["mean"]["psnr_y"]
    assert scores["veiled"] == scores["opaque"]
    assert np.array_equal(PhotoStore(tmp_path / "veiled", 32).pixels[0], opaque)


@pytest.mark.slow
@pytest.mark.parametrize("suffix, subtitles", [("mp4", True), ("mkv", True), ("mov", True), ("avi", False)])
def test_a_clip_keeps_its_tracks_and_place(srgan, tmp_path, suffix, subtitles, weights):
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:00,800\nhello\n", encoding="utf-8")
    inputs = ("-f", "lavfi", "-i", "testsrc=s=32x32:r=10:d=1", "-f", "lavfi", "-i", "sine=440:d=1", "-f", "lavfi",
        "-i", "sine=880:d=1", "-i", tmp_path / "a.srt", "-map", "0", "-map", "1", "-map", "2", "-map", "3")
    about = ("-metadata", "location=+48.2000+016.3000/", "-metadata", "title=Lake",
        "-metadata", "creation_time=2020-01-02T03:04:05Z", "-metadata:s:a:1", "language=deu", "-c:s", "mov_text")
    subprocess.run([ffmpeg, "-v", "error", *inputs, *about, tmp_path / "a.mp4"], check=True)
    result = srgan("upscale", tmp_path / "a.mp4", "-o", tmp_path / f"large.{suffix}", "--weights", weights)
    assert result.exit_code == 0, result.stderr
    report = subprocess.run([ffmpeg, "-i", tmp_path / f"large.{suffix}"], capture_output=True, text=True).stderr
    kinds = re.findall(r"Stream #0:\d.*?: (Video|Audio|Subtitle)", report)
    assert kinds == ["Video", "Audio", "Audio"] + ["Subtitle"] * subtitles
    assert ("cannot hold its subtitles" in result.stderr) == (not subtitles)
    assert "Lake" in report
    if suffix in ("mp4", "mov"):
        assert "+48.2000+016.3000/" in report and "2020-01-02T03:04:05" in report
    if suffix == "mp4": assert "(deu)" in report # QuickTime has no code for it


# What goes along with the pixels

UPSCALER = Upscaler(Generator(1, 4), **CPU_FP32)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" dc:title="Lake"/></x:xmpmeta>'


def rich_exif():
    "With camera, date, place, rights, an orientation and a thumbnail."
    exif = Image.Exif()
    exif.update({271: "Make", 315: "Ann Author", 33432: "(c) Ann", 274: 6})
    exif[34665] = {36867: "2020:01:02 03:04:05", 40962: 24, 40963: 16, 37500: b"maker's note"}
    exif[34853] = {1: "N", 2: (48.0, 12.0, 0.0), 3: "E", 4: (16.0, 18.0, 0.0)}
    return exif


def chunks_of(path):
    "Names and contents of a PNG's chunks."
    data, start, chunks = path.read_bytes(), 8, []
    while start < len(data):
        length = int.from_bytes(data[start:start + 4], "big")
        chunks.append((data[start + 4:start + 8], data[start + 8:start + 8 + length]))
        start += 12 + length
    return chunks


def test_a_plain_picture_gets_nothing_it_never_had(tmp_path):
    "No resolution, no EXIF, no profile, from a source with none, in any format."
    four_colours().save(tmp_path / "a.png")
    for suffix in ("png", "jpg", "webp", "tif", "avif", "bmp"):
        upscale_file(tmp_path / "a.png", tmp_path / f"large.{suffix}", UPSCALER)
        with Image.open(tmp_path / f"large.{suffix}") as large:
            if suffix == "tif": assert 282 not in large.tag_v2 # Pillow would say 1 dpi
            else: assert not any(large.info.get("dpi", (0, 0))), suffix
            assert not {"exif", "xmp", "icc_profile"} & set(large.info), suffix
    assert {name for name, _ in chunks_of(tmp_path / "large.png")} == {b"IHDR", b"IDAT", b"IEND"}


@pytest.mark.parametrize("source", ["jpg", "tif", "png", "webp", "avif"])
@pytest.mark.parametrize("target", ["jpg", "tif", "png", "webp", "avif"])
def test_metadata_goes_along(tmp_path, source, target):
    exif = rich_exif()
    options = dict(exif=exif, xmp=XMP, dpi=(300, 300), icc_profile=SRGB)
    if source == "tif": exif[700] = options.pop("xmp")
    if source == "png":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode())
    if source in ("webp", "avif"): exif.update({282: 300.0, 283: 300.0, 296: 2})
    options["exif"] = exif.tobytes()
    four_colours().save(tmp_path / f"a.{source}", **options)
    large = tmp_path / f"large.{target}"
    upscale_file(tmp_path / f"a.{source}", large, UPSCALER)
    with Image.open(large) as result:
        result.load()
        kept = result.getexif()
        assert (kept[271], kept[315], kept[33432]) == ("Make", "Ann Author", "(c) Ann")
        assert kept.get(274, 1) == 1 # no orientation, in EXIF or XMP
        assert kept.get_ifd(34665)[36867] == "2020:01:02 03:04:05"
        assert not {40962, 37500} & set(kept.get_ifd(34665))
        assert kept.get_ifd(34853)[2] == (48.0, 12.0, 0.0)
        assert result.info["icc_profile"] == SRGB
        xmp = result.info.get("xmp") or result.info["XML:com.adobe.xmp"].encode()
        assert b"Lake" in xmp and b'Orientation="6"' not in xmp
        dpi = result.info.get("dpi") or (kept[282], kept[283])
        assert np.abs(np.array(dpi, float) - 300).max() < 1
    plain = tmp_path / f"plain.{target}"
    upscale_file(tmp_path / f"a.{source}", plain, UPSCALER, metadata=False)
    with Image.open(plain) as result:
        assert not {"exif", "xmp", "XML:com.adobe.xmp"} & set(result.info)
        assert "dpi" not in result.info or (target == "tif" and 282 not in result.tag_v2) # Pillow's guess
        assert result.info["icc_profile"] == SRGB and 315 not in result.getexif()


@pytest.mark.parametrize("target", ["jpg", "tif", "png", "webp", "avif"])
def test_exiftool_reads_what_went_along(tmp_path, target):
    if not shutil.which("exiftool"): pytest.skip("exiftool is not installed (Debian's libimage-exiftool-perl)")
    four_colours().save(tmp_path / "a.jpg", exif=rich_exif(), xmp=XMP, dpi=(300, 300), icc_profile=SRGB)
    upscale_file(tmp_path / "a.jpg", tmp_path / f"large.{target}", UPSCALER)
    command = ["exiftool", "-json", "-n", "-warning", "-error", tmp_path / f"large.{target}"]
    tags = json.loads(subprocess.run([*command, "-all"], capture_output=True, text=True).stdout)[0]
    assert tags["Artist"] == "Ann Author" and tags["Copyright"] == "(c) Ann" and tags["Title"] == "Lake"
    assert tags["DateTimeOriginal"] == "2020:01:02 03:04:05"
    assert abs(tags["GPSLatitude"] - 48.2) < 1e-6 and abs(tags["GPSLongitude"] - 16.3) < 1e-6
    assert (tags["ImageWidth"], tags["ImageHeight"]) == (64, 96) # upright
    assert tags.get("Orientation", 1) == 1 and "ThumbnailImage" not in tags
    assert tags["ProfileDescription"].startswith("sRGB")
    assert "Error" not in tags and "Warning" not in tags, tags


@pytest.mark.parametrize("suffix, least", [("jpg", 43), ("webp", 40), ("avif", 43)])
def test_what_was_computed_is_what_is_written(tmp_path, suffix, least):
    "PSNR of the file against the pixels, for a photograph; at 75 and with half the colours a JPEG has 5 dB less."
    photo = sample_photos()["chelsea"].crop((100, 80, 164, 128))
    photo.save(tmp_path / "a.png")
    upscaler = Upscaler.from_pretrained("srresnet", **CPU_FP32)
    expected = np.asarray(upscaler(photo), float)
    sizes = []
    for quality in (95, 60):
        upscale_file(tmp_path / "a.png", tmp_path / f"{quality}.{suffix}", upscaler, quality=quality)
        sizes.append((tmp_path / f"{quality}.{suffix}").stat().st_size)
    error = np.asarray(Image.open(tmp_path / f"95.{suffix}").convert("RGB"), float) - expected
    assert 20 * np.log10(255) - 10 * np.log10((error**2).mean()) > least
    assert sizes[0] > 1.5 * sizes[1]
    if suffix == "jpg": assert {layer[1:3] for layer in Image.open(tmp_path / "95.jpg").layer} == {(1, 1)} # 4:4:4


def test_the_format_of_a_folder_can_be_chosen(srgan, photos, tmp_path, weights):
    for suffix in ("jpg", "webp", "tif"):
        out = tmp_path / suffix
        options = ("--format", suffix, "--quality", 80, "--no-metadata", "--weights", weights)
        assert srgan("upscale", photos, "-o", out, *options).exit_code == 0
        assert {path.suffix for path in out.iterdir()} == {f".{suffix}"}


def test_a_png_keeps_what_it_says_about_its_colours(tmp_path):
    info = PngImagePlugin.PngInfo()
    colours = {b"gAMA": b"\0\0\xb1\x8f", b"cHRM": bytes(range(32)), b"cICP": bytes([9, 16, 0, 1])}
    for name, data in colours.items(): info.add(name, data)
    info.add_text("Copyright", "Ann")
    for mode in ("RGB", "RGBA", "L"):
        four_colours().convert(mode).save(tmp_path / "a.png", pnginfo=info)
        upscale_file(tmp_path / "a.png", tmp_path / "large.png", UPSCALER, overwrite=True)
        written = dict(chunks_of(tmp_path / "large.png"))
        assert {name: written[name] for name in colours} == colours
        assert written[b"tEXt"] == b"Copyright\0Ann"
        assert Image.open(tmp_path / "large.png").convert("RGB").getpixel((1, 1)) is not None
    with pytest.warns(NotKept, match="cICP"): upscale_file(tmp_path / "a.png", tmp_path / "a.jpg", UPSCALER)


def test_a_profile_of_other_channels_is_not_written(tmp_path):
    grey = bytearray(SRGB)
    grey[16:20] = b"GRAY"
    four_colours().convert("L").save(tmp_path / "a.png", icc_profile=bytes(grey))
    for suffix, kept in dict(png=True, jpg=True, tif=True, webp=False, avif=False).items():
        warned = warnings.catch_warnings() if kept else pytest.warns(NotKept, match="profile")
        with warned: upscale_file(tmp_path / "a.png", tmp_path / f"large.{suffix}", UPSCALER)
        assert ("icc_profile" in Image.open(tmp_path / f"large.{suffix}").info) == kept


def test_an_opaque_alpha_is_no_transparency(tmp_path):
    opaque = four_colours()
    opaque.putalpha(255)
    opaque.save(tmp_path / "a.png")
    upscale_file(tmp_path / "a.png", tmp_path / "a.jpg", UPSCALER)
    assert Image.open(tmp_path / "a.jpg").mode == "RGB"


def notes(source, target, **options):
    "What is said about a result, below the name of its source."
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", NotKept)
        upscale_file(source, target, UPSCALER, overwrite=True, **options)
    return [str(note.message).removeprefix(f"{source}: ") for note in caught if note.category is NotKept]


def with_chunks(path, *chunks, late=()):
    "Write a PNG with further chunks before and after its pixels."
    def join(chunks):
        sized = [(struct.pack(">I", len(data)), name + data) for name, data in chunks]
        return b"".join(size + body + struct.pack(">I", zlib.crc32(body)) for size, body in sized)

    four_colours().save(path)
    data = path.read_bytes()
    path.write_bytes(data[:33] + join(chunks) + data[33:-12] + join(late) + data[-12:]) # after IHDR, before IEND


def test_a_png_with_exif_in_a_text_is_turned_once(tmp_path):
    "As ImageMagick writes it. The text would say again that the result isn't upright."
    exif = exif_of(6)
    exif[315] = "Ann"
    raw = exif.tobytes()
    text = b"Raw profile type exif\0\0" + zlib.compress(f"\nexif\n{len(raw):8}\n{raw.hex()}\n".encode())
    with_chunks(tmp_path / "a.png", (b"zTXt", text))
    for suffix in ("png", "jpg"):
        upscale_file(tmp_path / "a.png", tmp_path / f"large.{suffix}", UPSCALER)
        with Image.open(tmp_path / f"large.{suffix}") as large:
            large.load()
            assert large.size == (64, 96)
            assert large.getexif().get(274, 1) == 1 and large.getexif()[315] == "Ann"


def test_chunks_after_the_pixels_and_unknown_ones_are_not_lost_in_silence(tmp_path):
    late = [(b"tEXt", b"Copyright\0Ann"), (b"eXIf", rich_exif().tobytes()[6:])]
    with_chunks(tmp_path / "a.png", (b"caBX", b"credentials"), late=late)
    assert notes(tmp_path / "a.png", tmp_path / "large.png") == ["left out the maker's note",
        "left out caBX, of unknown contents"]
    with Image.open(tmp_path / "large.png") as large:
        large.load()
        assert large.info["Copyright"] == "Ann" and large.getexif()[315] == "Ann Author"
    assert "JPEG cannot hold its texts (Copyright)" in notes(tmp_path / "a.png", tmp_path / "large.jpg")
    assert notes(tmp_path / "a.png", tmp_path / "large.png", metadata=False) == []


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_exiftool_reads_iptc_and_comments(tmp_path, suffix):
    "Press agencies keep author and rights there."
    if not shutil.which("exiftool"): pytest.skip("exiftool is not installed (Debian's libimage-exiftool-perl)")
    four_colours().save(tmp_path / "a.jpg")
    tags = ["-IPTC:CopyrightNotice=(c) Ann", "-IPTC:Keywords=lake", "-Comment=hello"]
    subprocess.run(["exiftool", "-q", "-overwrite_original", *tags, tmp_path / "a.jpg"], check=True)
    lost = {"tif": ["TIFF cannot hold its comment"], "webp": ["WEBP cannot hold its IPTC, comment"]}
    assert notes(tmp_path / "a.jpg", tmp_path / f"large.{suffix}") == lost.get(suffix, [])
    command = ["exiftool", "-json", "-IPTC:all", "-Comment", "-warning", tmp_path / f"large.{suffix}"]
    read = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)[0]
    assert ("CopyrightNotice" in read, "Comment" in read) == (suffix != "webp", suffix in ("jpg", "png"))
    assert "Warning" not in read


def test_a_comment_goes_along_in_a_gif(tmp_path):
    four_colours().save(tmp_path / "a.jpg", comment=b"hello")
    assert notes(tmp_path / "a.jpg", tmp_path / "large.gif") == []
    assert Image.open(tmp_path / "large.gif").info["comment"] == b"hello"


def test_adobe_rgb_by_exif_alone_is_kept(tmp_path):
    "A camera's JPEG without a profile, whose colour space is named in a directory within EXIF."
    exif = Image.Exif()
    exif[34665] = {40961: 65535, 40965: {1: "R03"}}
    four_colours().save(tmp_path / "_a.jpg", exif=exif)
    upscale_file(tmp_path / "_a.jpg", tmp_path / "large.jpg", UPSCALER)
    kept = Image.open(tmp_path / "large.jpg").getexif()
    assert kept.get_ifd(34665)[40961] == 65535 and kept.get_ifd(40965)[1] == "R03"


DENSITIES = { # of a TIFF: x, y, unit -> pixels per inch in the result
    "fax": ((204, 1), (98, 1), 2, (204, 98)), "centimetre": ((100, 1), (100, 1), 3, (254, 254)),
    "no unit": ((300, 1), (300, 1), 1, None), "not a number": ((0, 0), (0, 0), 2, None),
    "zero": ((0, 1), (0, 1), 2, None),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_a_resolution_is_kept_if_it_is_one(tmp_path, name):
    x, y, unit, expected = DENSITIES[name]
    tifffile.imwrite(tmp_path / "a.tif", np.asarray(four_colours()), photometric="rgb", metadata=None,
        resolution=((7, 1), (7, 1)), resolutionunit=unit)
    data = (tmp_path / "a.tif").read_bytes()
    old = struct.pack("<2I", 7, 1)
    assert data.count(old) == 2
    for new in (x, y): data = data.replace(old, struct.pack("<2I", *new), 1)
    (tmp_path / "a.tif").write_bytes(data)
    for suffix in ("png", "jpg", "tif", "webp"):
        large = tmp_path / f"large.{suffix}"
        assert notes(tmp_path / "a.tif", large) == []
        with Image.open(large) as result:
            result.load()
            exif = result.getexif()
            given = "dpi" in result.info if suffix == "png" else 282 in exif or bool(result.info.get("jfif_unit"))
            assert given == (expected is not None), suffix
            dpi = result.info.get("dpi") or (exif.get(282), exif.get(283))
            if expected: assert np.abs(np.array(dpi, float) - expected).max() < 1


def test_facts_about_the_smaller_picture_are_named_and_left_out(tmp_path):
    "How a microscope's program describes an array, where a satellite looked, pixels that are not square."
    pixels = np.asarray(four_colours())
    place = [(33550, "d", 3, (1., 1., 0.), True)]
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, photometric="rgb")
    tifffile.imwrite(tmp_path / "b.tif", pixels, photometric="rgb", extratags=place)
    tifffile.imwrite(tmp_path / "c.tif", pixels[..., 0], imagej=True)
    tifffile.imwrite(tmp_path / "d.tif", pixels, photometric="rgb", metadata=None, description="a lake")
    with_chunks(tmp_path / "e.png", (b"pHYs", struct.pack(">2IB", 2, 1, 0)))
    large = tmp_path / "large"
    said = {path.name: notes(path, large / f"{path.stem}.tif") for path in sorted(tmp_path.glob("*.*"))}
    sizes = "left out a description of its sizes"
    assert said == {"a.ome.tif": [sizes], "b.tif": [f"{sizes}, ModelPixelScaleTag"], "c.tif": [sizes], "d.tif": [],
        "e.png": ["left out pixels of 2 x 1"]}
    for name in "abcd":
        with tifffile.TiffFile(next(large.glob(f"{name}.*"))) as file:
            assert file.asarray().shape[:2] == (64, 96)
            assert file.pages[0].description == ("a lake" if name == "d" else "")


def test_more_than_8_bits_are_named(tmp_path):
    write_deep(tmp_path / "a.png", np.asarray(four_colours()).astype(np.uint16) * 257)
    assert notes(tmp_path / "a.png", tmp_path / "large.png") == ["16 bits a channel; the result has 8"]
    if "HEIF" not in picture_formats(): return
    import pillow_heif
    pixels = np.asarray(four_colours(64, 64)).astype(np.uint16) * 257
    pillow_heif.from_bytes("RGB;16", (64, 64), pixels.tobytes()).save(tmp_path / "b.heic")
    assert notes(tmp_path / "b.heic", tmp_path / "large.png") == ["10 bits a channel; the result has 8"]


@pytest.mark.parametrize("suffix", ["heic", "avif"])
def test_an_hdr_photograph_says_what_its_numbers_mean(tmp_path, suffix):
    "Its box `nclx` becomes a PNG's cICP; another format's result is named."
    if suffix == "heic" and "HEIF" not in picture_formats(): pytest.skip("needs the extra [formats]")
    path = tmp_path / f"a.{suffix}"
    four_colours(64, 64).save(path)
    plain = path.read_bytes()
    box = plain.index(b"colrnclx") + 8
    assert notes(path, tmp_path / "large.jpg") == []
    path.write_bytes(plain[:box] + struct.pack(">2H", 9, 16) + plain[box + 4:]) # BT.2020, PQ
    upscale_file(path, tmp_path / "large.png", UPSCALER)
    assert dict(chunks_of(tmp_path / "large.png"))[b"cICP"] == bytes([9, 16, 0, 1])
    said = "only a PNG can hold what its cICP say about its colours"
    assert notes(path, tmp_path / "large.jpg") == [said]


def test_what_a_format_cannot_hold_is_named(tmp_path):
    four_colours().save(tmp_path / "a.jpg", exif=rich_exif(), icc_profile=SRGB, dpi=(300, 300))
    for suffix, word in dict(ppm="resolution", tga="colour profile", bmp="EXIF").items():
        with pytest.warns(NotKept, match=f"cannot hold its .*{word}"):
            upscale_file(tmp_path / "a.jpg", tmp_path / f"a.{suffix}", UPSCALER)


def test_a_tiff_of_more_than_4_gib_is_a_bigtiff():
    from srgan_nb.media import _big
    assert _big(Image.new("L", (1, 1)), "TIFF", 4) == {}
    huge = SimpleNamespace(mode="RGB", width=10_000, height=10_000)
    assert _big(huge, "TIFF", 4) == dict(big_tiff=True) and _big(huge, "PNG", 4) == {}


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_an_overwritten_file_keeps_its_mode_and_its_link(tmp_path):
    four_colours().save(tmp_path / "a.jpg")
    (tmp_path / "disk").mkdir()
    target = tmp_path / "disk/large.png"
    target.touch()
    target.chmod(0o640)
    (tmp_path / "link.png").symlink_to(target)
    upscale_file(tmp_path / "a.jpg", tmp_path / "link.png", UPSCALER, overwrite=True)
    assert (tmp_path / "link.png").is_symlink() and target.stat().st_mode & 0o777 == 0o640
    assert Image.open(target).size == (96, 64)


@pytest.mark.slow
@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_hdr_clips_are_tone_mapped(tmp_path, transfer):
    "The result is marked BT.709, and its grey is neither washed out nor nearly black."
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    to_hdr = f"zscale=tin=bt709:pin=bt709:min=bt709:rin=tv:t={transfer}:p=bt2020:m=bt2020nc:npl=203,format=yuv420p10le"
    source = ("-f", "lavfi", "-i", "color=0x808080:s=64x32:r=5:d=1,format=yuv444p")
    tags = ("-color_trc", transfer, "-color_primaries", "bt2020", "-colorspace", "bt2020nc")
    done = subprocess.run([ffmpeg, "-v", "error", *source, "-vf", to_hdr, *tags, tmp_path / "hdr.mp4"])
    if done.returncode: pytest.skip("this ffmpeg has no zscale")
    upscale_video(tmp_path / "hdr.mp4", tmp_path / "large.mp4", Upscaler.from_pretrained("srresnet", **CPU_FP32))
    report = subprocess.run([ffmpeg, "-i", tmp_path / "large.mp4"], capture_output=True, text=True).stderr
    assert "bt709" in report and "2020" not in report and transfer not in report
    frames = pytest.importorskip("imageio_ffmpeg").read_frames(tmp_path / "large.mp4")
    next(frames)
    assert 80 < np.median(np.frombuffer(next(frames), np.uint8)) < 176


COLOURS_OF_CLIPS = { # how a clip of one colour, 64 or 720 lines high, is encoded and marked -> what a player shows
    "small, unmarked": ("s=64x64", "bt601", []),
    "large, unmarked": ("s=64x720", "bt709", []),
    "large, marked": ("s=64x720", "bt601", ["-colorspace", "smpte170m"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COLOURS_OF_CLIPS)
def test_a_clip_without_names_for_its_colours_is_read_as_players_do(tmp_path, name):
    "And the result names all three: matrix, primaries and curve."
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    size, matrix, tags = COLOURS_OF_CLIPS[name]
    source = ("-f", "lavfi", "-i", f"color=0xC83214:{size}:r=5:d=0.4,format=rgb24")
    encode = ("-vf", f"scale=out_color_matrix={matrix},format=yuv420p", "-bsf:v", "h264_metadata=matrix_coefficients=2")
    if tags: encode = ("-vf", f"scale=out_color_matrix={matrix},format=yuv420p,setparams=colorspace=smpte170m")
    subprocess.run([ffmpeg, "-v", "error", *source, *encode, tmp_path / "a.mp4"], check=True)
    upscaler = Upscaler(Generator(1, 4), **CPU_FP32)
    seen = []
    upscaler.upscale = lambda lr: seen.append(lr) or lr.repeat_interleave(4, -1).repeat_interleave(4, -2)
    upscale_video(tmp_path / "a.mp4", tmp_path / "large.mp4", upscaler)
    assert np.abs(seen[0][0, :, 8, 8].numpy().astype(int) - (200, 50, 20)).max() <= 4
    report = subprocess.run([ffmpeg, "-i", tmp_path / "large.mp4"], capture_output=True, text=True).stderr
    assert "unknown" not in report and "bt709" in report


@pytest.mark.slow
@pytest.mark.parametrize("trait, encode, said", [
    ("ProRes 4444", ("-c:v", "prores_ks", "-pix_fmt", "yuva444p10le"), "without its transparency"),
    ("10 bits", ("-c:v", "libx264", "-pix_fmt", "yuv422p10le"), "10 bits a channel; the result has 8"),
    ("PQ, and no primaries", ("-c:v", "libx264", "-pix_fmt", "yuv420p10le", "-bsf:v",
        "h264_metadata=transfer_characteristics=16"), "10 bits"),
    ("BT.2020, and no curve", ("-c:v", "libx264", "-pix_fmt", "yuv420p10le", "-bsf:v",
        "h264_metadata=colour_primaries=9"), "10 bits"),
    ("Apple's keys", ("-movflags", "use_metadata_tags", "-metadata", "com.apple.quicktime.make=Apple"),
        "what the camera says"),
])
def test_what_a_clip_loses_is_named(tmp_path, trait, encode, said):
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    source = ("-f", "lavfi", "-i", "testsrc=s=32x32:r=5:d=0.4")
    subprocess.run([ffmpeg, "-v", "error", *source, *encode, tmp_path / "a.mov"], check=True)
    with pytest.warns(NotKept, match=said): upscale_video(tmp_path / "a.mov", tmp_path / "large.mp4", UPSCALER)


@pytest.mark.slow
def test_the_first_picture_track_is_enlarged_and_a_cover_is_named(tmp_path):
    "ffmpeg alone would take the largest track."
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    four_colours(96, 96).save(tmp_path / "cover.png")
    inputs = ("-f", "lavfi", "-i", "testsrc=s=32x32:r=5:d=1", "-f", "lavfi", "-i", "color=red:s=64x64:r=10:d=1")
    tracks = ("-i", tmp_path / "cover.png", "-map", "0", "-map", "1", "-map", "2", "-c:v:2", "png",
        "-disposition:v:2", "attached_pic", "-disposition:v:1", "default", "-disposition:v:0", "0")
    subprocess.run([ffmpeg, "-v", "error", *inputs, *tracks, tmp_path / "a.mp4"], check=True)
    with pytest.warns(NotKept) as said: upscale_video(tmp_path / "a.mp4", tmp_path / "large.mp4", UPSCALER)
    words = " ".join(str(warning.message) for warning in said)
    assert "without its cover" in words and "2 picture tracks" in words
    assert next(imageio_ffmpeg.read_frames(tmp_path / "large.mp4"))["size"] == (128, 128)
    assert imageio_ffmpeg.count_frames_and_secs(tmp_path / "large.mp4")[0] == 5


@pytest.mark.slow
def test_interlaced_clips_lose_their_combs(tmp_path):
    "A moving bar, whose odd and even lines are a moment apart. Progressive clips stay as they are."
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    bar = "color=black:s=64x64:r=50:d=1,drawbox=x=20:w=16:h=64:color=white:t=fill,scroll=h=0.06"
    combs = {}
    for name, filters, flags in [("fields", ",tinterlace=interleave_top,setfield=tff", ("-flags", "+ildct+ilme")),
            ("frames", ",fps=25", ())]:
        encode = ("-c:v", "libx264", *flags, "-pix_fmt", "yuv420p", "-qp", "1")
        source = ("-f", "lavfi", "-i", bar + filters)
        subprocess.run([ffmpeg, "-v", "error", *source, *encode, tmp_path / f"{name}.mp4"], check=True)
        seen = []
        upscaler = Upscaler(Generator(1, 4), **CPU_FP32)
        upscaler.upscale = lambda lr, seen=seen: seen.append(lr) or lr.repeat_interleave(4, -1).repeat_interleave(4, -2)
        upscale_video(tmp_path / f"{name}.mp4", tmp_path / f"large-{name}.mp4", upscaler)
        frame = seen[len(seen) // 2][0, 1].numpy().astype(int)
        combs[name] = np.abs(frame[16:48:2] - frame[17:48:2]).mean()
    assert combs["fields"] < 6 and combs["frames"] < 6


# Progress, warnings, and going on

def test_a_bar_counts_the_rows_of_a_large_photo(tmp_path, monkeypatch):
    rows = []

    class Bar:
        def __init__(self, **options): rows.append((options["total"], options["delay"]))
        def __enter__(self): return self
        def __exit__(self, *error): pass
        def update(self): rows.append(1)

    monkeypatch.setattr("srgan_nb.inference.progress", Bar)
    four_colours(30, 50).save(tmp_path / "a.png")
    for suffix in ("png", "jpg"):
        upscale_file(tmp_path / "a.png", tmp_path / f"large.{suffix}", Upscaler(Generator(1, 4), tile=16, **CPU_FP32))
        assert rows == [(50, 1), *[1] * 50]
        rows.clear()


def test_warnings_for_programmers_do_not_reach_stderr(srgan, photos, tmp_path, weights, monkeypatch):
    "Such as Pillow's for large pictures, and what imageio logs."
    def open_pages_and_warn(source):
        warnings.warn("could be a decompression bomb DOS attack", Image.DecompressionBombWarning, stacklevel=2)
        warnings.warn("truncated", UserWarning, stacklevel=2)
        logging.getLogger("imageio_ffmpeg").warning("the frame size differs")
        yield from pages(source)

    from srgan_nb import media
    pages = media.open_pages
    monkeypatch.setattr(media, "open_pages", open_pages_and_warn)
    result = srgan("upscale", photos, "-o", tmp_path / "out", "--weights", weights)
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_clip_that_fails_does_not_use_up_a_name(srgan, tmp_path, weights):
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(100))
    source = ("-f", "lavfi", "-i", "testsrc=s=32x32:r=5:d=1")
    subprocess.run([ffmpeg, "-v", "error", *source, folder / "a.mov"], check=True)
    result = srgan("upscale", folder, "-o", tmp_path / "out", "--weights", weights)
    assert result.exit_code == 1 and "a.mp4: no clip that ffmpeg can read" in result.stderr
    assert names_in(tmp_path / "out") == ["a_mov.mp4"]


def test_evaluation_goes_on_without_a_picture_that_cannot_be_scored(srgan, photos, tmp_path):
    Image.new("RGB", (3, 3)).save(photos / "tiny.png")
    (photos / "broken.png").write_text("text", encoding="utf-8")
    figures = tmp_path / "figures.json"
    result = srgan("evaluate", photos, "--weights", "bicubic", "--json", figures)
    assert result.exit_code == 1
    assert [line for line in ("tiny.png: smaller", "broken.png: not a picture") if line not in result.stderr] == []
    assert "mean of 3" in result.stdout
    report = json.loads(figures.read_text(encoding="utf-8"))
    assert (report["n"], sorted(report["failed"])) == (3, ["broken", "tiny"])
    for path in photos.glob("*.png"):
        if path.stem not in report["failed"]: path.unlink()
    result = srgan("evaluate", photos, "--weights", "bicubic")
    assert result.exit_code == 1 and "none of the pictures could be scored" in result.stderr
