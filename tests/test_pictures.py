"Every picture that goes in comes out whole, upright and once, or it is named with the reason."
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from srgan_nb.data import PhotoStore, find_partners, find_photos
from srgan_nb.formats import find_files, kind_of, passed_over, picture_formats
from srgan_nb.generator import Generator
from srgan_nb.inference import Upscaler
from srgan_nb.media import upscale_video
from srgan_nb.paths import expand_paths, output_paths, photos_in
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
