"""Write each notebook's reading time under its title, computed from its words and its lines of code.

    python tools/reading_time.py

A reader manages 200 words or 15 lines of code a minute. Times are rounded to 5 minutes.
"""
import json
import re

from set_addresses import ROOT, notebooks

SENTENCE = re.compile(r"Reading time about \d+ minutes")


def minutes(path) -> int:
    """A notebook's reading time. Hidden or folded cells, those the site leaves out, folded solutions, and the questions
    at the end don't count."""
    words = lines = 0
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if source.startswith("## Check yourself"): continue
        if cell["cell_type"] == "markdown":
            prose = re.sub(r"<details.*?</details>|```.*?```|\]\([^)]*\)", " ", source, flags=re.S)
            words += len(prose.split())
        elif not re.search(r"^#\|\s*(hide|eval: false|code-fold: true|folded|export(?!s))", source, re.M):
            lines += sum(bool(line.strip()) and not line.startswith("#|") for line in source.splitlines())
    return 5 * max(round((words / 200 + lines / 15) / 5), 1)


def main():
    for path in notebooks(ROOT / "nbs"):
        before = path.read_text(encoding="utf-8")
        after = SENTENCE.sub(f"Reading time about {minutes(path)} minutes", before)
        if after == before: continue
        path.write_text(after, encoding="utf-8")
        print(path.relative_to(ROOT), minutes(path))


if __name__ == "__main__": main()
