"Nothing depends on where the program runs: not on the folder, the text encoding, the terminal's width or the user."
import ast
import os
import subprocess
import sys

import pytest

from conftest import ROOT, SRGAN_COMMAND

FOLDERS = ("srgan_nb", "tests", "tools", "recipes", "benchmarks")
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.py"))]


@pytest.mark.slow
def test_a_folder_named_like_the_package_does_not_hide_it(tmp_path):
    "A script in the folder above a checkout finds the installed package, with its weights."
    (tmp_path / "srgan_nb/nbs").mkdir(parents=True)
    program = (
        "import srgan_nb, srgan_nb.generator as g\n"
        "print(srgan_nb.__file__)\n"
        "print(*g.bundled_weights())\n"
    )
    script = tmp_path / "script.py"
    script.write_text(program, encoding="utf-8")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    file, names = done.stdout.splitlines()
    assert file.endswith("__init__.py")
    assert names == "photo srgan srresnet"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_text_files_name_their_encoding(path):
    "Without an encoding, Windows uses cp1252, and the locale C uses ASCII."
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        is_method_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if is_method_call and node.func.attr in ("read_text", "write_text"):
            assert "encoding" in [keyword.arg for keyword in node.keywords], ast.unparse(node)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="only POSIX systems have a locale C")
def test_an_ascii_locale_is_enough(tmp_path):
    "The weights' card has accents in its credits. The command prints its help."
    ascii_only = os.environ | dict(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", COLUMNS="40")
    program = "from srgan_nb.generator import load_generator; print(len(load_generator('srgan').about['data']))"
    card = subprocess.run([sys.executable, "-c", program], env=ascii_only, capture_output=True, check=True)
    assert int(card.stdout) > 0
    usage = subprocess.run([*SRGAN_COMMAND, "--help"], env=ascii_only, capture_output=True, check=True)
    assert b"Exit codes" in usage.stdout
