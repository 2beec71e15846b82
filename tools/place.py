"""Write where the project lives and which version it is, as settings.ini has them, into badges, links and the site's configuration.

    python tools/place.py

A fork changes `user` and `branch` in settings.ini and runs this once, then nbdev_export and tools/readme.py; a release changes `version`.
"""
import re
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parent.parent


def notebooks(folder: Path) -> list:
    "Every notebook below `folder`, but for the copies that Jupyter keeps."
    return sorted(path for path in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)


def placed(text: str, user: str, repo: str, branch: str) -> str:
    "`text` with every address of this project's repository and site pointing to `user` and `branch`."
    text = re.sub(rf"(https://(?:github\.com|colab\.research\.google\.com/github)/)[\w.-]+/{repo}(?:(/blob/)[^/\s\"]+)?\b",
        lambda m: f"{m[1]}{user}/{repo}{m[2] + branch if m[2] else ''}", text)
    text = re.sub(rf"https://[\w-]+\.github\.io/{repo}\b", f"https://{user}.github.io/{repo}", text)
    return re.sub(r"^(\s*repo-branch:).*$", rf"\1 {branch}", text, flags=re.M)


def versioned(text: str, repo: str, version: str) -> str:
    "`text`, the site's configuration, with `version` wherever the project's name and a version follow each other."
    return re.sub(rf"\b{repo} \d[\w.]*", f"{repo} {version}", text)


def main():
    settings = ConfigParser()
    settings.read(ROOT / "settings.ini")
    user, repo, branch, version = (settings["DEFAULT"][key] for key in ("user", "repo", "branch", "version"))
    for path in [*notebooks(ROOT / "nbs"), ROOT / "nbs/nbdev.yml", ROOT / "_quarto.yml"]:
        before = path.read_text(encoding="utf-8")
        after = placed(before, user, repo, branch)
        if path.name == "_quarto.yml": after = versioned(after, repo, version)
        if after != before: path.write_text(after, encoding="utf-8"); print(path.relative_to(ROOT))


if __name__ == "__main__": main()
