"A fork names its account and branch once."

from conftest import ROOT
from place import placed


def test_addresses_follow_the_settings():
    before = "https://colab.research.google.com/github/OWNER/srgan_nb/blob/main/nbs/index.ipynb https://github.com/OWNER/srgan_nb https://OWNER.github.io/srgan_nb\n  repo-branch: main\n"
    after = placed(before, "someone", "srgan_nb", "trunk")
    assert after == "https://colab.research.google.com/github/someone/srgan_nb/blob/trunk/nbs/index.ipynb https://github.com/someone/srgan_nb https://someone.github.io/srgan_nb\n  repo-branch: trunk\n"
    assert placed(after, "OWNER", "srgan_nb", "main") == before # and back


def test_others_addresses_stay():
    text = "https://github.com/someone-else/another/blob/main/README.md and https://arxiv.org/abs/1609.04802"
    assert placed(text, "someone", "srgan_nb", "trunk") == text
