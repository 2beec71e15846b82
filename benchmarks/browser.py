"""Measure the page `try` of a built site: seconds and memory to enlarge squares, in headless Chromium by WebAssembly.

    python benchmarks/browser.py SITE [-o benchmarks/results/browser.json]

SITE is a site with the files of tools/try_assets.py. Each run opens a new browser, with one thread or two, in turn. The
page itself measures the seconds, from the click on the button to the last strip; the network is loaded before. The
memory is the peak of the page's process.
"""
import argparse
import json
import re
import statistics
import sys
import tempfile
from pathlib import Path

import psutil
from playwright.sync_api import sync_playwright

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "tools")]
from run import machine

from headless import CHROMIUM, FLAGS, WATCH, served
from try_assets import RUNTIME, VERSION

CASES = [(128, 1), (128, 2), (256, 1), (256, 2)] # side of the picture, threads


def peak_mib() -> int:
    "The peak memory of the pages' processes below this one: the largest of them. Linux only."
    peaks = []
    for process in psutil.Process().children(recursive=True):
        if "--type=renderer" not in process.cmdline(): continue
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        peaks.append(int(re.search(r"VmHWM:\s+(\d+)", status)[1]))
    return max(peaks) // 1024


def one_run(playwright, address: str, photo: Path, threads: int) -> dict:
    "Enlarge one picture with SRGAN in a new browser."
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    page = browser.new_page(viewport=dict(width=1280, height=900))
    page.goto(f"{address}/try.html?threads={threads}")
    # for two threads, the page loads itself again
    page.locator(".try-backend", has_text="one thread" if threads == 1 else f"{threads} threads").wait_for()
    page.locator("#srgan-try input[type=file]").set_input_files(photo)
    page.wait_for_selector(".try-settings:not([hidden])")
    page.wait_for_timeout(5000) # the network loads
    idle = peak_mib()
    page.evaluate(WATCH)
    page.locator(".try-go").click()
    page.wait_for_selector("#srgan-try[data-seconds]", timeout=300_000)
    result = dict(
        seconds=float(page.locator("#srgan-try").get_attribute("data-seconds")),
        peak_mib=peak_mib(),
        idle_mib=idle,
        gap_ms=page.evaluate("Math.max(...waits)"),
        version=browser.version,
    )
    browser.close()
    return result


def row_of(side: int, threads: int, runs: list) -> dict:
    seconds = [run["seconds"] for run in runs]
    return dict(
        side=side,
        threads=threads,
        median=statistics.median(seconds),
        low=min(seconds),
        high=max(seconds),
        peak_mib=max(run["peak_mib"] for run in runs),
        idle_mib=max(run["idle_mib"] for run in runs),
        gap_ms=round(max(run["gap_ms"] for run in runs)),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    from srgan_nb.data import sample_photos
    runs = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory() as folder, served(args.site) as address, sync_playwright() as playwright:
        for _ in range(args.rounds):
            for side, threads in CASES:
                photo = Path(folder) / f"{side}.png"
                sample_photos()["astronaut"].crop((150, 0, 150 + side, side)).save(photo)
                runs[side, threads].append(one_run(playwright, address, photo, threads))
                print(side, threads, runs[side, threads][-1], flush=True)
    rows = [row_of(*case, runs[case]) for case in CASES]
    browser = dict(browser=f"Chromium {runs[CASES[0]][0]['version']}", runtime=f"{RUNTIME} {VERSION}")
    report = dict(machine=machine(2) | browser, rounds=args.rounds, rows=rows)
    if args.out: args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__": main()
