"""Write the project's address and version from settings.ini into badges, links and the site's configuration.

    python tools/set_addresses.py

After a fork, change `user` and `branch` in settings.ini and run this once, then nbdev_export and tools/readme.py. Do
the same after changing `version` for a release.
"""
import re
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parent.parent


def notebooks(folder: Path) -> list:
    "Every notebook for readers: not the copies that Jupyter keeps, nor those in modules/, which only begin a module."
    return sorted(path for path in folder.rglob("*.ipynb") if not {".ipynb_checkpoints", "modules"} & set(path.parts))


def placed(text: str, user: str, repo: str, branch: str) -> str:
    "`text` with every address of this project's repository and site changed to `user` and `branch`."
    hosts = r"https://(?:github\.com|colab\.research\.google\.com/github)/"
    def address(match):
        file_link = match[2] + branch if match[2] else ""
        return f"{match[1]}{user}/{repo}{file_link}"
    text = re.sub(rf"({hosts})[\w.-]+/{repo}(?:(/blob/)[^/\s\"]+)?\b", address, text)
    text = re.sub(rf"https://[\w-]+\.github\.io/{repo}\b", f"https://{user}.github.io/{repo}", text)
    return re.sub(r"^(\s*repo-branch:).*$", rf"\1 {branch}", text, flags=re.M)


def versioned(text: str, repo: str, version: str) -> str:
    "`text` of the site's configuration, with `version` wherever the project's name is followed by a version."
    return re.sub(rf"\b{repo} \d[\w.]*", f"{repo} {version}", text)


def main():
    settings = ConfigParser()
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    user, repo, branch, version = (settings["DEFAULT"][key] for key in ("user", "repo", "branch", "version"))
    for path in [*notebooks(ROOT / "nbs"), ROOT / "nbs/nbdev.yml", ROOT / "_quarto.yml"]:
        before = path.read_text(encoding="utf-8")
        after = placed(before, user, repo, branch)
        if path.name == "_quarto.yml": after = versioned(after, repo, version)
        if after == before: continue
        path.write_text(after, encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__": main()
