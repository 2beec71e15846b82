"""Turn a run's averaged generator into weights of the package, with the card that says what they are.

    python tools/ship.py RUN NAME --photos DIR --eval DIR --bad-at "what it is bad at" [--note "what else one should know"] [--earlier CARD]

writes srgan_nb/weights/NAME.safetensors (float16) and NAME.json beside it. DIR of --photos holds manifest.json (file,
source, licence of each photo); DIR of --eval holds Set5 and Set14, each with HR and LRbicx4. The figures on the card are
those of the file as shipped, measured here by `srgan evaluate`. CARD is that of the weights the run began with, where it
went on with the same stage: its steps and hours count, and the new card repeats how it was trained.
"""
import argparse
import hashlib
import json
import time
from itertools import groupby
from pathlib import Path

import torch
from safetensors import safe_open

from srgan_nb.cli import evaluate_folder
from srgan_nb.data import find_photos
from srgan_nb.generator import BUNDLED, load_generator, save_generator
from srgan_nb.training import read_metrics, read_record


def figures(weights, eval_dir: Path) -> dict:
    "What `srgan evaluate --perceptual` says of `weights` on both sets."
    reports = {name: evaluate_folder(eval_dir / name / "HR", eval_dir / name / "LRbicx4", weights, perceptual=True) for name in ("Set5", "Set14")}
    return {name: {key: round(value, 4) for key, value in report["mean"].items()} for name, report in reports.items()}


def credits(photos: Path, names: list) -> list:
    "The photos a run used, grouped by source and licence."
    used = [entry for entry in json.loads((photos / "manifest.json").read_text(encoding="utf-8")) if entry["file"] in set(names)]
    key = lambda entry: (entry["source"], entry["licence"])
    if missing := set(names) - {entry["file"] for entry in used}: raise SystemExit(f"{photos}/manifest.json does not name {', '.join(sorted(missing)[:5])}: each photograph needs its source and licence")
    return [dict(source=source, licence=licence, photos=[entry["file"] for entry in group]) for (source, licence), group in groupby(sorted(used, key=key), key)]


def card(run: Path, file: Path, photos: Path, eval_dir: Path, full: dict, shipped: dict, bad_at: str, note: str) -> dict:
    record, steps = read_record(run), read_metrics(run)
    names = [name for path in find_photos(photos) if (name := path.relative_to(photos).as_posix()) not in record["skipped"]]
    if len(names) != record["photos"]: raise SystemExit(f"{photos}: holds {len(names)} photographs, the run used {record['photos']}; give the folder it was trained on")
    with safe_open(run / "generator.safetensors", "pt") as made: about = made.metadata()
    return dict(
        licence="CC-BY-SA-4.0", sha256=hashlib.sha256(file.read_bytes()).hexdigest(), date=time.strftime("%Y-%m-%d"), storage="float16",
        stage=about["stage"], steps=int(about["step"]), config=record["config"], seed=record["seed"], precision=record["precision"],
        hardware=record["machine"] + f", {record['device']}", versions=record["versions"], hours=round(sum_hours(steps), 2),
        figures=shipped, figures_before_rounding_to_float16=full,
        figures_are="means over the set; x4, stored bicubic LR, Y of BT.601, 4 pixels shaved, 8 bits, float32; ssim_y: Wang's window; lpips: shift-tolerant, AlexNet, RGB",
        bad_at=bad_at, note=note,
        data=credits(photos, names))


HOW = ("steps", "hours", "date", "config", "seed", "precision", "hardware", "versions", "figures", "note", "earlier")

def continued(about: dict, earlier: dict) -> dict:
    "The card of weights that were trained before, and then as `about` says."
    return about | dict(steps=about["steps"] + earlier["steps"], hours=round(about["hours"] + earlier["hours"], 2), earlier={key: earlier[key] for key in HOW if key in earlier})


def sum_hours(lines: list) -> float:
    "Hours spent in the logged steps of all stages, checkpoints and their evaluations included."
    hours = 0
    for _, stage in groupby(lines, lambda line: line["stage"]): # each counts from 1
        stage = list(stage)
        at = [0] + [line["step"] for line in stage]
        hours += sum(line["seconds"] * (here - before) for line, before, here in zip(stage, at, at[1:])) / 3600
    return hours


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path); parser.add_argument("name")
    parser.add_argument("--photos", type=Path, required=True); parser.add_argument("--eval", type=Path, required=True)
    parser.add_argument("--bad-at", required=True); parser.add_argument("--note", default=""); parser.add_argument("--earlier", type=Path)
    o = parser.parse_args()
    file, earlier = BUNDLED / f"{o.name}.safetensors", o.earlier and json.loads(o.earlier.read_text(encoding="utf-8")) # before it may be overwritten
    full = figures(o.run, o.eval)
    save_generator(load_generator(o.run), file, torch.float16, name=o.name, licence="CC-BY-SA-4.0")
    file.chmod(0o644)
    about = card(o.run, file, o.photos, o.eval, full, figures(file, o.eval), o.bad_at, o.note)
    if earlier: about = continued(about, earlier)
    file.with_suffix(".json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps({key: about[key] for key in ("steps", "hours", "figures", "figures_before_rounding_to_float16")}, indent=1))


if __name__ == "__main__":
    main()
