"The weights that ship load, are small, and are as good as their cards say."
import hashlib
import json
import os

import pytest
import torch

from srgan_nb.evaluation import pair_photos, score
from srgan_nb.inference import Upscaler
from srgan_nb.weights import BUNDLED, bundled_weights, load_generator

from conftest import CPU_FP32, ROOT


def card(name):
    return json.loads((BUNDLED / f"{name}.json").read_text(encoding="utf-8"))


def test_three_networks_ship():
    assert bundled_weights() == ["photo", "srgan", "srresnet"]


def test_files_are_small():
    assert sum(path.stat().st_size for path in BUNDLED.glob("*.safetensors")) < 10_000_000


@pytest.mark.parametrize("name", bundled_weights())
def test_card_belongs_to_the_file_and_credits_every_photo(name):
    about = card(name)
    assert about["sha256"] == hashlib.sha256((BUNDLED / f"{name}.safetensors").read_bytes()).hexdigest()
    assert about["licence"] == "CC-BY-SA-4.0"
    assert all(entry["source"] and entry["licence"] and entry["photos"] for entry in about["data"])
    assert sum(p.numel() for p in load_generator(name).parameters()) == 1_548_547


@pytest.mark.slow
@pytest.mark.parametrize("name", bundled_weights())
@pytest.mark.parametrize("dataset", ["Set5", "Set14"])
def test_weights_reach_the_figures_of_their_card(eval_dir, name, dataset):
    torch.set_num_threads(os.cpu_count())
    upscaler = Upscaler.from_pretrained(name, **CPU_FP32)
    pairs = pair_photos(eval_dir / dataset / "HR", eval_dir / dataset / "LRbicx4")
    scores = [score(upscaler.upscale(lr), hr) for _, lr, hr in pairs]
    figures = card(name)["figures"][dataset]
    for key, eps in dict(psnr_y=0.01, ssim_y=0.001, ssim_daala=0.001).items():
        mean = sum(one[key] for one in scores) / len(scores)
        assert mean == pytest.approx(figures[key], abs=eps)


@pytest.mark.parametrize("name", bundled_weights())
def test_readme_and_changelog_quote_the_card(name):
    quoted = f"{card(name)['figures']['Set5']['psnr_y']:.2f}"
    for page in ("README.md", "CHANGELOG.md"):
        assert quoted in (ROOT / page).read_text(encoding="utf-8"), page


@pytest.mark.parametrize("dataset, expected", [("Set5", 28.43), ("Set14", 26.09)])
def test_bicubic_baseline(srgan, eval_dir, tmp_path, dataset, expected):
    "Set14 gives 26.09 if the grey picture `bridge` is converted to RGB first."
    report = tmp_path / "report.json"
    pairs = (eval_dir / dataset / "HR", "--lr-dir", eval_dir / dataset / "LRbicx4")
    assert srgan("evaluate", *pairs, "--weights", "bicubic", "--json", report).exit_code == 0
    figures = json.loads(report.read_text(encoding="utf-8"))
    assert figures["mean"]["psnr_y"] == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("name", bundled_weights())
def test_torch_hub_finds_them(name):
    lr = torch.rand(1, 3, 6, 5)
    with torch.inference_mode():
        sr = torch.hub.load(ROOT, name, source="local")(lr)
        assert torch.equal(sr, load_generator(name)(lr))
