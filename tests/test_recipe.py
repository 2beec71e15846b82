"The recipe of the shipped weights: its crops, its steps, and its guard against training on evaluation pictures."
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from check_photos import copies
from PIL import Image

from srgan_nb.config import Stage
from srgan_nb.data import PhotoStore, degrade, make_pair, sample_photos
from srgan_nb.degradations import DegradedStore, degrade_photos, draw_degradations
from srgan_nb.generator import Generator
from srgan_nb.inference import Upscaler
from srgan_nb.training import train
from srgan_nb.weights import load_generator, save_generator

import release
from conftest import CPU_FP32, ROOT, needs_backbones, tiny_config
from finish import extrapolate_weights, pairs_of, recalibrate_batchnorm, remove_colour_shift
from ship import credits, sum_hours

# Crops

def test_augmented_crops_are_a_function_of_seed_and_step():
    store = release.AugmentedStore(sample_photos(), 96)
    crops, lr = store.draw(8, seed=3, step=5)
    assert crops.shape == (8, 3, 96, 96)
    assert crops.dtype == torch.uint8
    assert lr is None
    ranks = [store.draw(8, 3, 5, rank, 2)[0] for rank in range(2)]
    assert torch.equal(crops, torch.stack(ranks, 1).flatten(0, 1))
    assert len(store.draw(2, 3, 5)[0]) == 2 # a batch too small for every kind of crop


def test_half_of_the_scaled_crops_are_plain_ones():
    store = release.ScaledStore(sample_photos(), 96)
    crops, lr = store.draw(8, seed=3, step=5)
    assert crops.shape == (8, 3, 96, 96) and crops.dtype == torch.uint8 and lr is None
    assert torch.equal(crops[:4], PhotoStore(sample_photos(), 96).draw(4, 3, 5)[0])
    ranks = [store.draw(8, 3, 5, rank, 2)[0] for rank in range(2)]
    assert torch.equal(crops, torch.stack(ranks, 1).flatten(0, 1))


def test_scaled_crops_can_be_degraded_too():
    crops, lr = release.ScaledDegradedStore(sample_photos(), 96).draw(8, seed=3, step=5)
    assert torch.equal(crops, release.ScaledStore(sample_photos(), 96).draw(8, 3, 5)[0])
    rngs = [np.random.default_rng([3, 5, 7, row]) for row in range(8)]
    assert torch.equal(lr, (255 * degrade_photos(crops, draw_degradations(8, 3, 5), rngs)).round().byte())


def test_shrunk_crops_equal_crops_of_a_smaller_photo():
    def crops(side):
        return PhotoStore(sample_photos(), side).draw(4, 3, 5)[0]

    store = release.AugmentedStore(sample_photos(), 96)
    assert torch.equal(store.shrunk(4, 3, 5, 1., 0.), crops(96))
    # ours is rounded and clamped once, not after each axis
    smaller = 255 * degrade(crops(192), 2)
    assert (store.shrunk(4, 3, 5, 0.5, 0.).float() - smaller).abs().mean() < 0.5
    # it shrinks no further than the photo allows
    assert store.shrunk(4, 3, 5, 0.01, 0.7).shape == (4, 3, 96, 96)


def test_half_the_crops_are_negatives():
    white = Image.new("RGB", (400, 300), "white")
    crops, _ = release.AugmentedStore({"white": white}, 96).draw(64, 3, 5)
    assert set(crops.unique().tolist()) == {0, 255} # turned crops show nothing from outside the photo
    assert 20 <= (crops[:, 0, 0, 0] == 0).sum() <= 44


def test_crops_are_turned_as_pillow_turns_them():
    photo = sample_photos()["coffee"].crop((0, 0, 200, 200))
    x = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None]
    ours = release.turned(x, np.radians(30), 100)[0].permute(1, 2, 0)
    pillows = np.asarray(photo.rotate(30, Image.BICUBIC).crop((50, 50, 150, 150)), float)
    assert np.abs(ours.numpy().clip(0, 255) - pillows).mean() < 1


def all_orientations(batch):
    "A batch in all eight orientations: as it is and mirrored, each turned by 0, 90, 180 and 270 degrees."
    return torch.cat([x.rot90(turns, (-2, -1)) for x in (batch, batch.flip(-1)) for turns in range(4)])


def test_a_teachers_targets_are_its_self_ensemble(tmp_path):
    "In 64 steps the store hands out eight times as many crops as a step needs, each in all eight orientations."
    g = Generator(n_blocks=1, channels=4)
    save_generator(g, tmp_path / "generator.safetensors")
    store = release.DistilledStore(sample_photos(), 48, tmp_path)
    srs, lrs = map(torch.cat, zip(*(store.draw(2, 3, step) for step in range(64, 128))))
    assert srs.dtype == torch.uint8
    expected = Upscaler(g, precision="fp32", ensemble=True).upscale(lrs)
    assert (expected.int() - srs.int()).abs().max() <= 1 # the floats are added in another order
    crops = release.AugmentedStore(sample_photos(), 48).draw(16, 3, 1)[0]
    lr = (255 * make_pair(crops)[0]).round().byte()
    assert sorted(x.numpy().tobytes() for x in lrs) == sorted(x.numpy().tobytes() for x in all_orientations(lr))


# Finishing a network

def test_a_mean_is_written_once(tmp_path):
    generators = [Generator(n_blocks=1, channels=4) for _ in range(3)]
    for g, name in zip(generators, ("generator-srgan-90.safetensors", "generator-srgan-100.safetensors", "teacher")):
        save_generator(g, tmp_path / name)
    kept = release.checkpoints(tmp_path, "srgan")
    assert [path.name for path in kept] == ["generator-srgan-90.safetensors", "generator-srgan-100.safetensors"]
    # calling the recipe a second time changes nothing
    for _ in range(2): release.write_mean(tmp_path, [kept[-1], tmp_path / "teacher"], "srgan", 100)
    _, student, teacher = (g.parameters() for g in generators)
    for average, a, b in zip(load_generator(tmp_path).parameters(), student, teacher):
        torch.testing.assert_close(average, (a + b) / 2)


def test_extrapolation_continues_in_the_same_direction():
    start, generator = Generator(n_blocks=1, channels=4), Generator(n_blocks=1, channels=4)
    changes = [p - p_start for p, p_start in zip(generator.parameters(), start.parameters())]
    extrapolate_weights(generator, start, 0.5)
    for p, p_start, change in zip(generator.parameters(), start.parameters(), changes):
        torch.testing.assert_close(p - p_start, 1.5 * change)


def test_a_network_with_recalibrated_batchnorm_computes_the_same(tmp_path):
    "In `eval` mode its output does not change. In `train` mode it becomes much closer to that of `eval` mode."
    torch.manual_seed(0)
    g = Generator(n_blocks=2, channels=8)
    for layer in g.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.uniform_(-1, 1)
            layer.running_var.uniform_(1, 9)
            layer.weight.data.uniform_(0.5, 2)
    save_generator(g, tmp_path / "generator.safetensors", stage="srresnet", step=7)
    store = PhotoStore(sample_photos(), 96)
    recalibrate_batchnorm(tmp_path, store)
    recalibrated = load_generator(tmp_path)
    lr = torch.cat([lr for lr, _ in pairs_of(store, 16, 2)])
    torch.testing.assert_close(recalibrated.eval()(lr), g.eval()(lr), atol=1e-4, rtol=1e-4)

    def difference_of_modes(network):
        return (network.eval()(lr) - network.train()(lr)).abs().mean()

    before = difference_of_modes(g)
    assert difference_of_modes(recalibrated) < before / 10
    assert recalibrated.about["step"] == "7"


def test_a_run_loses_its_colour_shift(tmp_path):
    "Measured on crops that are degraded."
    save_generator(Generator(n_blocks=1, channels=4), tmp_path / "generator.safetensors", stage="srgan", step=7)
    store = DegradedStore(sample_photos(), 48)

    def shift():
        g = load_generator(tmp_path).eval()
        with torch.no_grad():
            return torch.stack([(g(lr) - hr).mean((0, 2, 3)) for lr, hr in pairs_of(store, 8, 25)]).mean(0)

    assert shift().abs().max() > 1e-2
    remove_colour_shift(tmp_path, store)
    assert shift().abs().max() < 1e-5
    assert load_generator(tmp_path).about["step"] == "7"


# The guard against evaluation pictures

@pytest.mark.parametrize("disguise", [
    lambda photo: photo,
    lambda photo: photo.resize((150, 120), Image.BICUBIC),
    lambda photo: photo.transpose(Image.ROTATE_90).transpose(Image.FLIP_LEFT_RIGHT),
    lambda photo: photo.point(lambda value: value * 0.8 + 20),
], ids=["the same", "another size", "turned and mirrored", "paler"])
def test_copies_of_evaluation_pictures_are_found(tmp_path, disguise):
    for folder in ("train", "eval"):
        (tmp_path / folder).mkdir()
    for name, photo in sample_photos().items():
        photo.save(tmp_path / "eval" / f"{name}.png")
    disguise(sample_photos()["coffee"]).save(tmp_path / "train/innocent.jpg", quality=60)
    (tmp_path / "train/fake.jpg").write_text("not a photo", encoding="utf-8") # is skipped, as in training
    matches = [(photo.name, picture.name) for photo, picture, _ in copies(tmp_path / "train", tmp_path / "eval")]
    assert matches == [("innocent.jpg", "coffee.png")]


def test_different_photographs_are_not_taken_for_copies(tmp_path):
    for folder in ("train", "eval"):
        (tmp_path / folder).mkdir()
    photos = sample_photos()
    photos.pop("coffee").save(tmp_path / "eval/coffee.png")
    for name, photo in photos.items():
        photo.save(tmp_path / "train" / f"{name}.png")
    assert copies(tmp_path / "train", tmp_path / "eval") == []


HAS_PHOTOS = "SRGAN_TRAIN" in os.environ and "SRGAN_EVAL" in os.environ


@pytest.mark.slow
@pytest.mark.skipif(not HAS_PHOTOS, reason="SRGAN_TRAIN or SRGAN_EVAL is not set: the photographs are not here")
def test_shipped_weights_were_trained_on_no_evaluation_picture():
    folders = [f"{os.environ['SRGAN_EVAL']}/{name}/HR" for name in ("Set5", "Set14")]
    command = [sys.executable, str(ROOT / "tools/check_photos.py"), os.environ["SRGAN_TRAIN"], *folders]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "none of 400" in done.stdout, done.stdout + done.stderr


# Shipping

def test_a_photograph_without_a_licence_is_named(tmp_path):
    manifest = [dict(file="a.png", source="here", licence="CC0")]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert credits(tmp_path, ["a.png"]) == [dict(source="here", licence="CC0", photos=["a.png"])]
    with pytest.raises(SystemExit, match="does not name b.JPG"):
        credits(tmp_path, ["a.png", "b.JPG"])


def test_hours_of_both_stages_are_counted():
    "1,000 steps of one stage and 100 of the other, 3.6 seconds each, are 1.1 hours."
    lines = [
        dict(stage="srresnet", step=500, seconds=3.6),
        dict(stage="srresnet", step=1000, seconds=3.6),
        dict(stage="srgan", step=100, seconds=3.6),
    ]
    assert sum_hours(lines) == pytest.approx(1.1)


# The whole recipe

def test_a_stopped_stage_stops_the_recipe(tmp_path, monkeypatch):
    "Otherwise release.sh would go on to the next stage."
    config = tiny_config(srresnet=Stage(9), save_every=1)

    def interrupt(*_):
        signal.raise_signal(signal.SIGINT)

    def train_and_interrupt(config_of_recipe, photos, run, stage, **options):
        return train(config, sample_photos(), run, stage, on_save=interrupt, **CPU_FP32)

    monkeypatch.setattr(release, "train", train_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        release.main("srresnet", tmp_path, tmp_path, tmp_path / "runs", steps=3)


@pytest.mark.slow
@needs_backbones
def test_recipe_trains_evaluates_and_resumes(tmp_path):
    """One step, then one more: the second call resumes the run, and each checkpoint is evaluated.

    The network has its full size, so there are few steps.
    """
    pytest.importorskip("lpips")
    photos, valid, runs = tmp_path / "photos", tmp_path / "valid", tmp_path / "runs"
    photos.mkdir()
    (valid / "HR").mkdir(parents=True)
    for name, photo in sample_photos().items():
        photo.save(photos / f"{name}.png")
    photo.resize((80, 60)).save(valid / "HR/small.png")
    folders = ["--photos", photos, "--valid", valid, "--runs", runs]
    for steps in ("1", "2"):
        command = [sys.executable, ROOT / "recipes/release.py", "srresnet", *folders, "--steps", steps, "--batch", "2"]
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
    text = (runs / "srresnet/evaluations.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert {"psnr_y", "lpips", "lpips_vgg", "dists", "st_lpips"} < set(lines[0])
