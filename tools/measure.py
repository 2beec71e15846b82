"""Measure the shipped weights by every ruler, picture by picture, and write the means to their cards.

    python tools/measure.py --eval DIR --valid DIR [--degraded DIR] [WEIGHTS ...]

DIR of --eval holds Set5 and Set14, each with HR and LRbicx4. DIR of --valid holds HR: the photographs by which
weights are chosen. They are measured as they are, and the first twelve also with what cameras and JPEG do to LR. The
DIR of --degraded keeps these twelve and their LR versions, for the commands of the table.
Without WEIGHTS, bicubic and all that ship are measured. The rows of recipes/results.csv are replaced, one for each
picture, with the command that gives it; the cards' `figures` are the means.
"""
import argparse
import csv
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path

import numpy as np

from srgan_nb.data import crop_to_multiple, find_photos
from srgan_nb.degradations import CLEAN, degrade_photos
from srgan_nb.evaluation import pair_photos, score
from srgan_nb.files import atomic_path
from srgan_nb.inference import Upscaler
from srgan_nb.metrics import lpips
from srgan_nb.utils import enlarge, open_photo, photo_to_tensor, tensor_to_photo
from srgan_nb.weights import BUNDLED, bundled_weights

TABLE = Path(__file__).parent.parent / "recipes/results.csv"
FIGURES_ARE = (
    "means over the set; x4, float32, 8 bits; LR: stored bicubic files of Set5 and Set14, else made here; "
    "psnr_y, ssim_y (Wang's window), ssim_daala: Y of BT.601, 4 pixels shaved; "
    "lpips (AlexNet), lpips_vgg, dists, st_lpips (shift-tolerant): whole pictures in RGB"
)
# What happens to the LR versions of twelve photographs of `valid`.
DEGRADED = {
    "valid, jpeg90": CLEAN._replace(quality=90, subsampling="4:2:0"),
    "valid, jpeg75": CLEAN._replace(quality=75, subsampling="4:2:0"),
    "valid, noise5": CLEAN._replace(noise=5.),
}
COLUMNS = (
    "set", "picture", "weights", "psnr_y", "ssim_y", "ssim_daala", "lpips", "lpips_vgg", "dists", "st_lpips", "command",
)


def degraded(hr_dir: Path, out: Path) -> tuple[Path, dict]:
    "Folders in `out`: twelve of the photographs, and for each name in DEGRADED their LR versions."
    originals = out / "valid/HR"
    folders = {name: out / name.split(", ")[1] for name in DEGRADED}
    for folder in (originals, *folders.values()): folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(find_photos(hr_dir)[:12]):
        shutil.copy(path, originals)
        hr = crop_to_multiple(photo_to_tensor(open_photo(path)))[None]
        for name, folder in folders.items():
            lr = degrade_photos(hr, [DEGRADED[name]], [np.random.default_rng(number)])
            tensor_to_photo(lr[0]).save(folder / f"{path.stem}.png")
    return originals, folders


def measure(weights, name: str, hr_dir: Path, lr_dir: Path | None) -> Iterator[dict]:
    "A row for each picture of one set. LR is made by bicubic if there is no `lr_dir`. Degraded LR: PSNR, SSIM, LPIPS."
    shown = hr_dir.parent.name # DIR/HR of Set5, Set14 or valid
    if name in DEGRADED: command = f"srgan evaluate degraded/{shown}/HR --lr-dir degraded/{lr_dir.name}"
    else: command = f"srgan evaluate {shown}/HR" + (f" --lr-dir {shown}/{lr_dir.name}" if lr_dir else "")
    command += f" --weights {weights} --perceptual"
    upscale = enlarge if weights == "bicubic" else Upscaler.from_pretrained(weights, precision="fp32").upscale
    for picture, lr, hr in pair_photos(hr_dir, lr_dir):
        sr = upscale(lr)
        if name in DEGRADED: figures = score(sr, hr) | dict(lpips=lpips(sr, hr).item())
        else: figures = score(sr, hr, perceptual=True)
        rounded = {key: round(value, 4) for key, value in figures.items()}
        yield dict(set=name, picture=picture, weights=str(weights), command=command) | rounded


def measure_all(weights, eval_dir: Path, valid_dir: Path, degraded_dir: Path | None) -> list[dict]:
    "The rows of all sets."
    rows = []
    for name in ("Set5", "Set14"): rows += measure(weights, name, eval_dir / name / "HR", eval_dir / name / "LRbicx4")
    rows += measure(weights, "valid", valid_dir / "HR", None)
    with nullcontext(degraded_dir) if degraded_dir else tempfile.TemporaryDirectory() as folder:
        originals, folders = degraded(valid_dir / "HR", Path(folder))
        for name, lr_dir in folders.items(): rows += measure(weights, name, originals, lr_dir)
    return rows


def means(rows: list[dict]) -> dict:
    "set -> figure -> mean over the pictures."
    result = {}
    for name, group in groupby(rows, lambda row: row["set"]):
        group = list(group)
        keys = [key for key in COLUMNS[3:-1] if key in group[0]]
        result[name] = {key: round(float(np.mean([row[key] for row in group])), 4) for key in keys}
    return result


def read_table() -> list[dict]:
    if not TABLE.exists(): return []
    with open(TABLE, encoding="utf-8", newline="") as file: return list(csv.DictReader(file))


def update(weights: str, rows: list[dict]) -> None:
    "Replace the rows of `weights` in the table, and the figures of its card."
    others = [row for row in read_table() if row["weights"] != weights]
    with atomic_path(TABLE) as path, open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(others + rows)
    card = BUNDLED / f"{weights}.json"
    if not card.exists(): return # bicubic
    about = json.loads(card.read_text(encoding="utf-8"))
    about |= dict(figures=means(rows), figures_are=FIGURES_ARE)
    card.write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="*")
    parser.add_argument("--eval", type=Path, required=True)
    parser.add_argument("--valid", type=Path, required=True)
    parser.add_argument("--degraded", type=Path)
    args = parser.parse_args()
    for weights in args.weights or ["bicubic", *bundled_weights()]:
        rows = measure_all(weights, args.eval, args.valid, args.degraded)
        update(weights, rows)
        for name, figures in means(rows).items(): print(weights, name, figures)


if __name__ == "__main__": main()
