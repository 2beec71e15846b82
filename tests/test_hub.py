"""What would be uploaded to the hub, kept on this machine; and what comes back."""
import shutil
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard

from srgan_nb import Discriminator, Generator
from srgan_nb.generator import load_generator


@pytest.fixture
def hub(monkeypatch, tmp_path):
    "The hub's client, uploading into a local folder."
    class Client:
        def __init__(self, token=None): pass
        def create_repo(self, repo_id, **_): return SimpleNamespace(repo_id=repo_id)
        def upload_folder(self, repo_id, folder_path, **_): shutil.copytree(folder_path, tmp_path / "hub" / repo_id)
    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Client)
    return tmp_path / "hub"


@pytest.mark.parametrize("name", ["srgan", "srresnet"])
def test_a_pushed_generator_comes_back_with_figures_and_licence(hub, name):
    pushed = load_generator(name)
    pushed.push_to_hub("owner/mine")
    assert {path.name for path in (hub / "owner/mine").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    back, card = Generator.from_pretrained(hub / "owner/mine"), ModelCard.load(hub / "owner/mine/README.md")
    pushed.save_pretrained(hub / "local", push_to_hub=True, repo_id="owner/again") # the other way the hub offers
    assert (hub / "owner/again/README.md").read_text(encoding="utf-8") == (hub / "owner/mine/README.md").read_text(encoding="utf-8").replace("owner/mine", "owner/again")
    x = torch.rand(1, 3, 9, 7)
    with torch.no_grad(): assert torch.equal(back(x), pushed(x))
    assert back.architecture == pushed.architecture and not back.training
    assert card.data.license == "cc-by-sa-4.0" and card.data.pipeline_tag == "image-to-image"
    assert card.text.strip().startswith("# owner/mine") and 'from_pretrained("owner/mine")' in card.text
    for figures in pushed.about["figures"].values(): assert all(str(value) in card.text for value in figures.values())
    for part in pushed.about["data"]: assert f"{part['source']}: {part['licence']}" in card.text


def test_a_pushed_discriminator_comes_back(hub):
    pushed = Discriminator(channels=4).eval()
    pushed.push_to_hub("owner/judge")
    back = Discriminator.from_pretrained(hub / "owner/judge")
    x = 2 * torch.rand(2, 3, 32, 32) - 1
    with torch.no_grad(): assert torch.equal(back(x), pushed(x))
    assert "discriminator of SRGAN" in (hub / "owner/judge/README.md").read_text(encoding="utf-8")


def test_weights_that_cannot_be_had_are_named(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match="owner/nothing: can be neither read"): load_generator("owner/nothing")
