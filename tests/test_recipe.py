"The recipe of the shipped weights: its guard against training on evaluation pictures, and its order of work."
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import ROOT
from srgan_nb.data import PhotoStore, degrade, make_pair, sample_photos
from srgan_nb.generator import Generator, load_generator, save_generator
from srgan_nb.inference import Upscaler
from srgan_nb.training import TINY, Stage, train

import release
from check_photos import copies
from finish import anchor, go_beyond, pairs_of
from ship import credits, sum_hours


def test_wider_crops_are_a_function_of_seed_and_step():
    store = release.Wider(sample_photos(), 96)
    crops, lr = store.draw(8, seed=3, step=5)
    assert (tuple(crops.shape), crops.dtype, lr) == ((8, 3, 96, 96), torch.uint8, None)
    assert torch.equal(crops, torch.stack([store.draw(8, 3, 5, rank, 2)[0] for rank in range(2)], 1).flatten(0, 1))
    assert len(store.draw(2, 3, 5)[0]) == 2 # too few for all kinds


def test_shrunk_crops_are_those_of_photographs_made_smaller():
    store, crops = release.Wider(sample_photos(), 96), lambda side: PhotoStore(sample_photos(), side).draw(4, 3, 5)[0]
    assert torch.equal(store.shrunk(4, 3, 5, 1., 0.), crops(96))
    smaller = 255 * degrade(crops(192), 2) # rounded and clamped after each axis, not once
    assert (store.shrunk(4, 3, 5, 0.5, 0.).float() - smaller).abs().mean() < 0.5
    assert store.shrunk(4, 3, 5, 0.01, 0.7).shape == (4, 3, 96, 96) # as far as there is photograph


def test_half_the_crops_are_negatives():
    crops, _ = release.Wider({"white": Image.new("RGB", (400, 300), "white")}, 96).draw(64, 3, 5) # turned ones show nothing from outside
    assert set(crops.unique().tolist()) == {0, 255} and 20 <= (crops[:, 0, 0, 0] == 0).sum() <= 44


def test_a_turned_photograph_is_turned_as_pillow_turns_it():
    photo = sample_photos()["coffee"].crop((0, 0, 200, 200))
    ours = release.turned(torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None], np.radians(30), 100)[0].permute(1, 2, 0)
    theirs = np.asarray(photo.rotate(30, Image.BICUBIC).crop((50, 50, 150, 150)), float)
    assert np.abs(ours.numpy().clip(0, 255) - theirs).mean() < 1


def test_a_teacher_shows_what_eight_looks_see(tmp_path):
    "Within 64 steps, of eight times as many crops as a step learns from, each from all eight sides."
    save_generator(g := Generator(n_blocks=1, channels=4), tmp_path / "generator.safetensors")
    store, sees = release.Taught(sample_photos(), 48, tmp_path), Upscaler(g, precision="fp32", ensemble=True).upscale
    srs, lrs = map(torch.cat, zip(*(store.draw(2, 3, step) for step in range(64, 128))))
    assert srs.dtype == torch.uint8 and (sees(lrs).int() - srs.int()).abs().max() <= 1 # floats are added in another order
    lr = (255 * make_pair(release.Wider(sample_photos(), 48).draw(16, 3, 1)[0])[0]).round().byte()
    sides = torch.cat([seen.rot90(turns, (-2, -1)) for seen in (lr, lr.flip(-1)) for turns in range(4)])
    assert sorted(x.numpy().tobytes() for x in lrs) == sorted(x.numpy().tobytes() for x in sides)


def test_teacher_and_taught_meet_half_way_and_no_nearer(tmp_path):
    generators = [Generator(n_blocks=1, channels=4) for _ in range(2)]
    for g, name in zip(generators, ("generator-srresnet-7.safetensors", "teacher.safetensors")): save_generator(g, tmp_path / name)
    for _ in range(2): release.meet(tmp_path, 7, tmp_path / "teacher.safetensors") # the recipe may be called again
    for met, here, there in zip(load_generator(tmp_path).parameters(), *(g.parameters() for g in generators)): torch.testing.assert_close(met, (here + there) / 2)


def test_beyond_goes_on_in_the_same_direction():
    start, generator = Generator(n_blocks=1, channels=4), Generator(n_blocks=1, channels=4)
    way = [here - there for here, there in zip(generator.parameters(), start.parameters())]
    go_beyond(generator, start, 0.5)
    for here, there, before in zip(generator.parameters(), start.parameters(), way): torch.testing.assert_close(here - there, 1.5 * before)


def test_an_anchored_network_computes_the_same_and_trains_from_there(tmp_path):
    torch.manual_seed(0)
    g = Generator(n_blocks=2, channels=8)
    for layer in g.modules():
        if isinstance(layer, torch.nn.BatchNorm2d): layer.running_mean.uniform_(-1, 1); layer.running_var.uniform_(1, 9); layer.weight.data.uniform_(0.5, 2)
    save_generator(g, tmp_path / "generator.safetensors", stage="srresnet", step=7)
    anchor(tmp_path, sample_photos())
    anchored = load_generator(tmp_path)
    lr = torch.cat([lr for lr, _ in pairs_of(sample_photos(), 96, 16, 2)])
    torch.testing.assert_close(anchored.eval()(lr), g.eval()(lr), atol=1e-4, rtol=1e-4)
    far, near = ((network.eval()(lr) - network.train()(lr)).abs().mean() for network in (g, anchored))
    assert near < far / 10 and anchored.about["step"] == "7"


@pytest.mark.parametrize("disguise", [
    lambda photo: photo,
    lambda photo: photo.resize((150, 120), Image.BICUBIC),
    lambda photo: photo.transpose(Image.ROTATE_90).transpose(Image.FLIP_LEFT_RIGHT),
    lambda photo: photo.point(lambda value: value * 0.8 + 20),
], ids=["the same", "another size", "turned and mirrored", "paler"])
def test_copies_are_found(tmp_path, disguise):
    for folder in ("train", "eval"): (tmp_path / folder).mkdir()
    for name, photo in sample_photos().items(): photo.save(tmp_path / "eval" / f"{name}.png")
    disguise(sample_photos()["coffee"]).save(tmp_path / "train/innocent.jpg", quality=60)
    (tmp_path / "train/fake.jpg").write_text("not a photo", encoding="utf-8") # is skipped, as in training
    assert [(photo.name, picture.name) for photo, picture, _ in copies(tmp_path / "train", tmp_path / "eval")] == [("innocent.jpg", "coffee.png")]


def test_different_photographs_are_not(tmp_path):
    for folder in ("train", "eval"): (tmp_path / folder).mkdir()
    photos = sample_photos()
    photos.pop("coffee").save(tmp_path / "eval/coffee.png")
    for name, photo in photos.items(): photo.save(tmp_path / "train" / f"{name}.png")
    assert copies(tmp_path / "train", tmp_path / "eval") == []


@pytest.mark.skipif("SRGAN_TRAIN" not in os.environ or "SRGAN_EVAL" not in os.environ, reason="SRGAN_TRAIN or SRGAN_EVAL is not set: the photographs are not here")
def test_shipped_weights_saw_no_evaluation_picture():
    command = [sys.executable, ROOT / "tools/check_photos.py", os.environ["SRGAN_TRAIN"], *(f"{os.environ['SRGAN_EVAL']}/{name}/HR" for name in ("Set5", "Set14"))]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0 and "none of 400" in done.stdout, done.stdout + done.stderr


def test_a_photograph_without_a_licence_is_named(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps([dict(file="a.png", source="here", licence="CC0")]), encoding="utf-8")
    assert credits(tmp_path, ["a.png"]) == [dict(source="here", licence="CC0", photos=["a.png"])]
    with pytest.raises(SystemExit, match="does not name b.JPG"): credits(tmp_path, ["a.png", "b.JPG"])


def test_hours_of_both_stages_are_counted():
    lines = [dict(stage=stage, step=step, seconds=3.6) for stage, step in (("srresnet", 500), ("srresnet", 1000), ("srgan", 100))]
    assert sum_hours(lines) == pytest.approx(1.1)


def test_a_stopped_stage_is_no_success(tmp_path, monkeypatch):
    "Or release.sh would go on to the next one."
    monkeypatch.setattr(release, "train", lambda config, photos, run, stage, **options: train(replace(TINY, srresnet=Stage(9), n_blocks=1, channels=8, crop=32, save_every=1), sample_photos(), run, stage, device="cpu", precision="fp32", on_save=lambda *_: signal.raise_signal(signal.SIGINT)))
    with pytest.raises(SystemExit, match="srresnet: stopped"): release.main("srresnet", tmp_path, tmp_path, tmp_path / "runs", steps=3)


@pytest.mark.skipif("SRGAN_EVAL" not in os.environ, reason="SRGAN_EVAL is not set: no evaluation pictures")
def test_recipe_trains_judges_and_continues(tmp_path):
    "Two steps, then one more: the run goes on, and each checkpoint has its figures. (Full-size networks, so few steps.)"
    pytest.importorskip("stlpips_pytorch")
    (tmp_path / "photos").mkdir()
    for name, photo in sample_photos().items(): photo.save(tmp_path / "photos" / f"{name}.png")
    for name in ("Set5", "Set14"): # one small picture of each is enough here
        for kind in ("HR", "LRbicx4"):
            source = sorted(Path(os.environ["SRGAN_EVAL"], name, kind).iterdir())[0]
            (tmp_path / "eval" / name / kind).mkdir(parents=True)
            (tmp_path / "eval" / name / kind / source.name).write_bytes(source.read_bytes())
    for steps in ("1", "2"):
        command = [sys.executable, ROOT / "recipes/release.py", "srresnet", "--photos", tmp_path / "photos", "--eval", tmp_path / "eval", "--runs", tmp_path / "runs", "--steps", steps, "--batch", "2"]
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
    lines = [json.loads(line) for line in (tmp_path / "runs/srresnet/evaluations.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert set(lines[0]["Set5"]) == {"psnr_y", "ssim_y", "ssim_daala", "lpips"}
