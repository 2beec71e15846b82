"Print what the package needs, each at its lower bound; with --tests, the tests to run there. See CONTRIBUTING.md."
import sys
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = ["library", "weights", "hub", "cli_input", "fast_paths", "training"]


def pins() -> list:
    ini = ConfigParser(delimiters=["="])
    ini.read(ROOT / "settings.ini", encoding="utf-8")
    needed = [ini["DEFAULT"][name] for name in ("requirements", "large_requirements")]
    return [each.replace(">=", "==") for each in " ".join(needed).split()]


if __name__ == "__main__":
    tests = [f"tests/test_{name}.py" for name in TESTS]
    print(*(tests if "--tests" in sys.argv else pins()))
