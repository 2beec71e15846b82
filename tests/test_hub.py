"What would be uploaded to the Hugging Face hub is kept in a local folder, and loads again from there."
import shutil
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard
from huggingface_hub.errors import LocalEntryNotFoundError

from srgan_nb import Discriminator, Generator, Upscaler
from srgan_nb.weights import load_generator


@pytest.fixture
def hub(monkeypatch, tmp_path):
    "The hub's client uploads into this local folder."
    class Client:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, **_):
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, repo_id, folder_path, **_):
            shutil.copytree(folder_path, tmp_path / "hub" / repo_id)

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Client)
    return tmp_path / "hub"


def same_output(a, b, x):
    with torch.no_grad():
        return torch.equal(a(x), b(x))


@pytest.mark.parametrize("name", ["srgan", "srresnet"])
def test_a_pushed_generator_comes_back_with_figures_and_licence(hub, name):
    pushed = load_generator(name)
    pushed.push_to_hub("owner/mine")
    folder = hub / "owner/mine"
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    readme = (folder / "README.md").read_text(encoding="utf-8")

    # the hub's other way to push
    pushed.save_pretrained(hub / "local", push_to_hub=True, repo_id="owner/again")
    again = (hub / "owner/again/README.md").read_text(encoding="utf-8")
    assert again == readme.replace("owner/mine", "owner/again")

    back = Generator.from_pretrained(folder)
    assert same_output(back, pushed, torch.rand(1, 3, 9, 7))
    assert back.architecture == pushed.architecture
    assert not back.training

    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "cc-by-sa-4.0"
    assert card.data.pipeline_tag == "image-to-image"
    assert card.text.strip().startswith("# owner/mine")
    assert 'from_pretrained("owner/mine")' in card.text
    for figures in pushed.about["figures"].values():
        assert all(str(value) in card.text for value in figures.values())
    for part in pushed.about["data"]:
        assert f"{part['source']}: {part['licence']}" in card.text


def test_a_pushed_discriminator_comes_back(hub):
    pushed = Discriminator(channels=4).eval()
    pushed.push_to_hub("owner/judge")
    back = Discriminator.from_pretrained(hub / "owner/judge").eval() # some versions of the hub leave that to you
    assert same_output(back, pushed, 2 * torch.rand(2, 3, 32, 32) - 1)
    assert "discriminator of SRGAN" in (hub / "owner/judge/README.md").read_text(encoding="utf-8")


def test_weights_that_cannot_be_downloaded_are_named(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match="owner/nothing: can be neither read"):
        load_generator("owner/nothing")


def test_a_hub_id_gets_its_revision_and_token_and_never_a_pickle(monkeypatch, tmp_path):
    saved, asked = tmp_path / "saved", []
    Generator(1, 4).save_pretrained(saved)

    def download(repo_id, filename, **options):
        asked.append((repo_id, filename, options["revision"], options["token"]))
        if not (saved / filename).exists():
            raise LocalEntryNotFoundError(f"no {filename} there")
        return str(saved / filename)

    def never(*_, **__):
        raise AssertionError("a pickle was read")

    for module in ("huggingface_hub.hub_mixin", "srgan_nb.weights"):
        monkeypatch.setattr(f"{module}.hf_hub_download", download, raising=False)
    monkeypatch.setattr("torch.load", never)
    Upscaler.from_pretrained("owner/name", revision="v2", token="secret")
    assert set(asked) == {("owner/name", file, "v2", "secret") for file in ("config.json", "model.safetensors")}
    (saved / "model.safetensors").rename(saved / "pytorch_model.bin")
    with pytest.raises(OSError, match="owner/name: can be neither read"):
        load_generator("owner/name")
