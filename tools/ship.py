"""Turn a run's averaged generator into weights of the package, with a card that says how they were trained.

    python tools/ship.py RUN NAME --photos DIR --bad-at "its weak points" [--note TEXT] [--earlier CARD]

This writes srgan_nb/weights/NAME.safetensors (float16) and NAME.json. The folder of --photos holds manifest.json
(file, source, licence of each photo). The card has no figures yet: tools/measure.py adds them.

If the run continued other weights with the same stage, CARD is their card. Their steps and hours are added, and the
new card repeats how they were trained.
"""
import argparse
import hashlib
import json
import time
from itertools import groupby
from pathlib import Path

import torch
from safetensors import safe_open

from srgan_nb.data import find_photos
from srgan_nb.run_folder import read_metrics, read_record
from srgan_nb.weights import BUNDLED, load_generator, save_generator

LICENCE = "CC-BY-SA-4.0"
# What a card repeats of an earlier one.
HISTORY = (
    "steps", "hours", "date", "config", "seed", "precision", "hardware", "versions",
    "figures", "note", "earlier",
)


def source_and_licence(entry: dict) -> tuple: return entry["source"], entry["licence"]


def credits(photos: Path, names: list) -> list:
    "The photos that a run used, grouped by source and licence. Exits if the manifest lacks one."
    manifest = json.loads((photos / "manifest.json").read_text(encoding="utf-8"))
    used = [entry for entry in manifest if entry["file"] in set(names)]
    if missing := set(names) - {entry["file"] for entry in used}:
        unnamed = ", ".join(sorted(missing)[:5])
        problem = f"{photos}/manifest.json does not name {unnamed}"
        raise SystemExit(f"{problem}: each photograph needs its source and licence")
    groups = groupby(sorted(used, key=source_and_licence), source_and_licence)
    return [
        dict(source=source, licence=licence, photos=[entry["file"] for entry in group])
        for (source, licence), group in groups
    ]


def used_photos(record: dict, photos: Path) -> list:
    "Names of the photos that a run used. Exits if `photos` is not the folder that it was trained on."
    names = [path.relative_to(photos).as_posix() for path in find_photos(photos)]
    names = [name for name in names if name not in record["skipped"]]
    if len(names) != record["photos"]:
        counts = f"holds {len(names)} photographs, the run used {record['photos']}"
        raise SystemExit(f"{photos}: {counts}; give the folder it was trained on")
    return names


def card(run: Path, file: Path, photos: Path, bad_at: str, note: str) -> dict:
    "Everything that is known about `file`, the shipped weights of `run`, but for its figures."
    record = read_record(run)
    names = used_photos(record, photos)
    with safe_open(run / "generator.safetensors", "pt") as weights: about = weights.metadata()
    return dict(
        licence=LICENCE,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        date=time.strftime("%Y-%m-%d"),
        storage="float16",
        stage=about["stage"],
        steps=int(about["step"]),
        config=record["config"],
        seed=record["seed"],
        precision=record["precision"],
        hardware=f"{record['machine']}, {record['device']}",
        versions=record["versions"],
        hours=round(sum_hours(read_metrics(run)), 2),
        bad_at=bad_at,
        note=note,
        data=credits(photos, names),
    )


def continued(about: dict, earlier: dict) -> dict:
    "The card `about`, with the history of the weights that its run started from."
    return about | dict(
        steps=about["steps"] + earlier["steps"],
        hours=round(about["hours"] + earlier["hours"], 2),
        earlier={key: earlier[key] for key in HISTORY if key in earlier},
    )


def sum_hours(lines: list) -> float:
    "Hours spent in the logged steps of all stages, including checkpoints and their evaluations."
    hours = 0
    for _, stage in groupby(lines, lambda line: line["stage"]):
        before = 0 # each stage counts its steps from 1
        seconds = []
        for line in stage:
            seconds.append(line["seconds"] * (line["step"] - before))
            before = line["step"]
        hours += sum(seconds) / 3600
    return hours


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--bad-at", required=True)
    parser.add_argument("--note", default="")
    parser.add_argument("--earlier", type=Path)
    args = parser.parse_args()
    file = BUNDLED / f"{args.name}.safetensors"
    # Read this first: the new card may overwrite it.
    earlier = args.earlier and json.loads(args.earlier.read_text(encoding="utf-8"))
    save_generator(load_generator(args.run), file, torch.float16, name=args.name, licence=LICENCE)
    file.chmod(0o644)
    about = card(args.run, file, args.photos, args.bad_at, args.note)
    if earlier: about = continued(about, earlier)
    text = json.dumps(about, indent=1, ensure_ascii=False)
    file.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    print(json.dumps({key: about[key] for key in ("stage", "steps", "hours")}))


if __name__ == "__main__": main()
