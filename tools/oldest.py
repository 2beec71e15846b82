"""Print what the package needs, each at its lower bound: pip install $(python tools/oldest.py) pytest beautifulsoup4

Then `pip install --no-deps -e .`, and `pytest -q $(python tools/oldest.py --tests)` runs the tests that need no more.
"""
import sys
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = ["library", "weights", "hub", "fast_paths", "training", "cli_input"]


def pins() -> list:
    ini = ConfigParser(delimiters=["="])
    ini.read(ROOT / "settings.ini", encoding="utf-8")
    needed = [ini["DEFAULT"][name] for name in ("requirements", "large_requirements")]
    return [each.replace(">=", "==") for each in " ".join(needed).split()]


if __name__ == "__main__":
    tests = [f"tests/test_{name}.py" for name in TESTS]
    print(*(tests if "--tests" in sys.argv else pins()))
