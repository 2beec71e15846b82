"What must not depend on where the program runs: the folder, the encoding, the width of the terminal, the user."
import ast
import os
import subprocess
import sys

import pytest

from conftest import ROOT

PYTHON = [path for folder in ("srgan_nb", "tests", "tools", "recipes", "benchmarks") for path in sorted((ROOT / folder).glob("*.py"))]


def test_a_folder_of_the_packages_name_is_not_the_package(tmp_path):
    "As in the folder above a checkout: a script there finds the installed package, with its weights."
    (tmp_path / "srgan_nb/nbs").mkdir(parents=True)
    (tmp_path / "script.py").write_text("import srgan_nb, srgan_nb.generator as g; print(srgan_nb.__file__); print(*g.bundled_weights())", encoding="utf-8")
    said = subprocess.run([sys.executable, tmp_path / "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[0].endswith("__init__.py") and said[1] == "srgan srresnet"


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.name)
def test_text_files_name_their_encoding(path):
    "Without one Windows takes cp1252, and a locale of C ASCII."
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("read_text", "write_text"):
            assert "encoding" in [keyword.arg for keyword in node.keywords], ast.unparse(node)


@pytest.mark.skipif(os.name != "posix", reason="locales of POSIX")
def test_an_ascii_locale_is_enough(tmp_path):
    "The card of the weights has accents in its credits; help and errors are printed."
    plain = os.environ | dict(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", COLUMNS="40")
    program = "from srgan_nb.generator import load_generator; print(len(load_generator('srgan').about['data']))"
    assert int(subprocess.run([sys.executable, "-c", program], env=plain, capture_output=True, check=True).stdout) > 0
    assert b"Exit codes" in subprocess.run([sys.executable, "-m", "srgan_nb.cli", "--help"], env=plain, capture_output=True, check=True).stdout
