"The weights that ship load, are small, and are as good as their cards say."
import hashlib
import json
import os

import pytest
import torch

from srgan_nb.evaluation import pair_photos, score
from srgan_nb.files import write_tensors
from srgan_nb.generator import Generator
from srgan_nb.inference import Upscaler
from srgan_nb.weights import BUNDLED, bundled_weights, load_generator, save_generator

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


@pytest.fixture
def allocated(monkeypatch):
    "Sizes of the convolutions that got memory, not just a shape."
    sizes, initialise = [], torch.nn.init.kaiming_uniform_

    def spy(tensor, *arguments, **options):
        if tensor.device.type != "meta":
            sizes.append(tensor.numel())
        return initialise(tensor, *arguments, **options)

    monkeypatch.setattr("torch.nn.init.kaiming_uniform_", spy)
    return sizes


PROMISES = [dict(channels=2000), dict(n_blocks=10**9), dict(scale=2**60), dict(scale=3), dict(n_blocks="many"), dict()]


@pytest.mark.parametrize("promise", PROMISES, ids=str)
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_header_that_promises_gigabytes_is_refused_in_a_sentence(tmp_path, allocated, promise, kind):
    "Before memory is taken for the network that it describes."
    tiny = Generator(1, 4)
    architecture = tiny.architecture | promise if promise else {}
    path = tmp_path / "g.safetensors"
    if kind == "file":
        write_tensors(path, tiny.state_dict(), "generator", architecture=json.dumps(architecture))
    else:
        path = tmp_path / "saved"
        tiny.save_pretrained(path)
        (path / "config.json").write_text(json.dumps(architecture), encoding="utf-8")
    allocated.clear()
    with pytest.raises(ValueError, match="does not fit its own architecture") as refusal:
        load_generator(path)
    assert not allocated and len(str(refusal.value)) < 400


@pytest.mark.parametrize("length", [2**62, 10**8, 2])
def test_a_header_of_a_wrong_length_is_refused_in_a_sentence(tmp_path, length):
    path = tmp_path / "g.safetensors"
    header = b'{"a":{"dtype":"F32","shape":[999999999999],"data_offsets":[0,9]}}'
    path.write_bytes(length.to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match="not a safetensors file, or not a whole one") as refusal:
        load_generator(path)
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize("name", ["head.0.weight", "merge.1.running_var", "blocks.0.body.1.running_mean"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused_everywhere(tmp_path, name, value):
    "In BatchNorm's statistics as in parameters, in a file and in a saved folder."
    broken = Generator(1, 4)
    broken.state_dict()[name].view(-1)[0] = value
    save_generator(broken, tmp_path / "g.safetensors")
    broken.save_pretrained(tmp_path / "saved")
    for path in (tmp_path / "g.safetensors", tmp_path / "saved"):
        with pytest.raises(ValueError, match="NaN or infinite"):
            load_generator(path)
