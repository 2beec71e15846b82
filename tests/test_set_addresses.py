"A fork sets its account and branch in one place, and a release its version."
from configparser import ConfigParser

from conftest import ROOT
from set_addresses import placed, versioned


def test_addresses_follow_the_settings():
    ours = (
        "https://colab.research.google.com/github/OWNER/srgan_nb/blob/main/nbs/index.ipynb "
        "https://github.com/OWNER/srgan_nb https://OWNER.github.io/srgan_nb\n"
        "  repo-branch: main\n"
    )
    forked = (
        "https://colab.research.google.com/github/someone/srgan_nb/blob/trunk/nbs/index.ipynb "
        "https://github.com/someone/srgan_nb https://someone.github.io/srgan_nb\n"
        "  repo-branch: trunk\n"
    )
    assert placed(ours, "someone", "srgan_nb", "trunk") == forked
    assert placed(forked, "OWNER", "srgan_nb", "main") == ours # and back


def test_addresses_of_others_stay():
    text = "https://github.com/someone-else/another/blob/main/README.md and https://arxiv.org/abs/1609.04802"
    assert placed(text, "someone", "srgan_nb", "trunk") == text


def test_footer_shows_the_version_of_the_settings():
    settings = ConfigParser()
    settings.read(ROOT / "settings.ini")
    footer = (ROOT / "_quarto.yml").read_text(encoding="utf-8")
    assert f"srgan_nb {settings['DEFAULT']['version']}, built" in footer
    assert "srgan_nb 2.0.1rc1, built" in versioned(footer, "srgan_nb", "2.0.1rc1")
