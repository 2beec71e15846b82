"The weights that ship: loadable, small, and as good as their cards say."
import hashlib
import json
import os

import pytest
import torch

from conftest import ROOT
from srgan_nb.cli import pair_photos, score
from srgan_nb.generator import BUNDLED, bundled_weights, load_generator
from srgan_nb.inference import Upscaler


def card(name): return json.loads((BUNDLED / f"{name}.json").read_text(encoding="utf-8"))


def test_both_ship(): assert sorted(bundled_weights()) == ["srgan", "srresnet"]


def test_size(): assert sum(path.stat().st_size for path in BUNDLED.glob("*.safetensors")) < 8_000_000


@pytest.mark.parametrize("name", bundled_weights())
def test_card_belongs_to_the_file_and_credits_every_photo(name):
    about = card(name)
    assert about["sha256"] == hashlib.sha256((BUNDLED / f"{name}.safetensors").read_bytes()).hexdigest()
    assert about["licence"] == "CC-BY-SA-4.0"
    assert all(entry["source"] and entry["licence"] and entry["photos"] for entry in about["data"])
    assert sum(p.numel() for p in load_generator(name).parameters()) == 1_548_547


@pytest.mark.parametrize("name", bundled_weights())
@pytest.mark.parametrize("dataset", ["Set5", "Set14"])
def test_figures_of_the_card_are_met(eval_dir, name, dataset):
    torch.set_num_threads(os.cpu_count())
    upscaler = Upscaler.from_pretrained(name, device="cpu", precision="fp32")
    pairs = pair_photos(eval_dir / dataset / "HR", eval_dir / dataset / "LRbicx4")
    scores = [score(upscaler.upscale(lr), hr) for _, lr, hr in pairs]
    for key, eps in dict(psnr_y=0.01, ssim_y=0.001, ssim_daala=0.001).items():
        assert sum(s[key] for s in scores) / len(scores) == pytest.approx(card(name)["figures"][dataset][key], abs=eps)


@pytest.mark.parametrize("name", bundled_weights())
def test_prose_states_what_the_card_does(name):
    stated = f"{card(name)['figures']['Set5']['psnr_y']:.2f}"
    for page in ("README.md", "CHANGELOG.md"): assert stated in (ROOT / page).read_text(encoding="utf-8"), page


@pytest.mark.parametrize("dataset, expected", [("Set5", 28.43), ("Set14", 26.09)])
def test_bicubic_baseline(srgan, eval_dir, tmp_path, dataset, expected):
    "Set14 is 26.09 with the grey picture `bridge` first made RGB."
    report = tmp_path / "report.json"
    assert srgan("evaluate", eval_dir / dataset / "HR", "--lr-dir", eval_dir / dataset / "LRbicx4", "--weights", "bicubic", "--json", report).exit_code == 0
    assert json.loads(report.read_text(encoding="utf-8"))["mean"]["psnr_y"] == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("name", ["srresnet", "srgan"])
def test_torch_hub_finds_them(name):
    lr = torch.rand(1, 3, 6, 5)
    with torch.inference_mode(): assert torch.equal(torch.hub.load(ROOT, name, source="local")(lr), load_generator(name)(lr))
