"""The training behind the weights that ship, laid out straight (their cards say how they really came about): SRResNet on pixels, on more varied crops, and on what its own eight looks see; SRGAN-VGG54 from the first of these, and that once more, slower and louder; each judged at every checkpoint.

    python recipes/release.py srresnet --photos DIR --eval DIR --runs DIR
    python recipes/release.py wider --photos DIR --eval DIR --runs DIR
    python recipes/release.py taught --photos DIR --eval DIR --runs DIR
    python recipes/release.py srgan --photos DIR --eval DIR --runs DIR --vgg FILE
    python recipes/release.py fine --photos DIR --eval DIR --runs DIR --vgg FILE

Called again it continues. On several GPUs: `accelerate launch recipes/release.py ...`. `recipes/release.sh` is all of it,
from the check of the photographs to the cards.

The run folders are RUNS/srresnet, RUNS/wider and so on; each also holds evaluations.jsonl, a line for every checkpoint with the
figures `srgan evaluate --perceptual` gives on Set5 and Set14, and keeps the averaged generator of each.
"""
import json
import os
import shutil
import sys
from copy import copy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Optional

import numpy as np
import torch
import torch.nn.functional as F
import typer

from srgan_nb.data import PhotoStore, crop_batch, lay_on_device, make_pair
from srgan_nb.generator import load_generator, save_generator
from srgan_nb.inference import self_ensemble
from srgan_nb.training import PAPER, Stage, is_finished, read_record, train
from srgan_nb.utils import atomic_path, to_8bit, to_unit

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
from finish import anchor, averaged
from ship import figures

# What is not in the paper, and why, stands in the ledgers of 00_paper and 07_training.
SRRESNET = replace(PAPER, name="release", srresnet=Stage(40_000, rate=5e-4, schedule="cosine", warmup=300), srgan=Stage(),
    crop=128, batch=32, log_every=100, save_every=1000)
WIDER = replace(SRRESNET, name="wider", srresnet=Stage(90_000, rate=3e-4, schedule="cosine", warmup=200), crop=192, batch=16, clip=0.03, fixed_batchnorm=True)
TAUGHT = replace(WIDER, name="taught", srresnet=Stage(2_400, rate=1e-4, schedule="cosine", warmup=50), clip=0.002, save_every=400)
SRGAN = replace(PAPER, name="release", srresnet=Stage(), srgan=Stage(3000, rate=1e-4, warmup=50), beta1=0.5, feature_scale=1 / 40,
    pixel_weight=0.5, adversarial_weight=5e-2, joint=True, d_rate=2., d_warmup=300, log_every=100, save_every=200)
FINE = replace(SRGAN, srgan=Stage(650, rate=3e-5, warmup=50), pixel_weight=0.25, adversarial_weight=0.1, d_rate=4., d_warmup=150, log_every=20, save_every=100)


def sent(rows, device) -> torch.Tensor:
    "On the device, without waiting for what it is doing."
    rows = torch.from_numpy(np.stack(rows))
    return rows.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else rows


def turned(crops: torch.Tensor, angle: float, side: int) -> torch.Tensor:
    "The squares of `side` pixels in the middle of `crops`, turned by `angle` (radians); in their range, as floats."
    along = (torch.arange(side, device=crops.device) - (side - 1) / 2) * (2 / crops.shape[-1]) # from -1 to 1 would be all of a crop
    right, down, cos, sin = along, along[:, None], np.cos(angle), np.sin(angle)
    grid = torch.stack([cos * right - sin * down, sin * right + cos * down], -1)
    return F.grid_sample(crops.float(), grid.expand(len(crops), -1, -1, -1), "bicubic", "border", align_corners=False)


class Wider(PhotoStore):
    """Crops of photographs made smaller, for finer detail per pixel and by no step twice the same: half of a batch between 3/8 and 5/8 of their size,
    a quarter above that, and a quarter turned by any angle, for edges of all directions. Half are negatives, and two in five get a random order of red, green and blue."""
    def __init__(self, photos, crop: int):
        super().__init__(photos, crop)
        if torch.cuda.is_available(): lay_on_device(self, "cuda")

    def shrunk(self, count: int, seed: int, step: int, size: float, angle: float) -> torch.Tensor:
        "Crops of photographs of `size` times their own; as far as the smallest photograph allows."
        view, room = copy(self), self.sizes.min()
        corners = np.cos(angle) + np.sin(angle) # side of a square around a turned one
        inside = min(round(self.crop / size), int(room / corners))
        view.crop = int(np.ceil(inside * corners))
        crops = crop_batch(view, count, seed, step)
        crops = turned(crops, angle, inside) if angle else crops.float()
        return F.interpolate(crops, (self.crop, self.crop), mode="bicubic", antialias=True).round().clamp(0, 255).byte()

    def draw(self, batch: int, seed: int, step: int, rank: int = 0, world: int = 1) -> tuple:
        rng = np.random.default_rng([seed, step])
        kinds = (3 / 8, 1 / 2, 0), (1 / 2, 5 / 8, 0), (5 / 8, 1, 0), (11 / 20, 17 / 20, 1) # from which size to which; turned?
        sizes = [(rng.uniform(low, high), turn * np.radians(rng.uniform(5, 85))) for low, high, turn in kinds]
        shares = map(len, np.array_split(range(batch), len(kinds)))
        crops = torch.cat([self.shrunk(share, seed + k, step, *size) for k, (share, size) in enumerate(zip(shares, sizes)) if share])
        orders = sent([rng.permutation(3) if rng.random() < 0.4 else np.arange(3) for _ in crops], crops.device)
        negative = sent(255 * rng.integers(0, 2, (len(crops), 1, 1, 1), np.uint8), crops.device)
        crops = crops.gather(1, orders[:, :, None, None].expand_as(crops)) ^ negative # 255 ^ x is 255 - x
        return crops[rank::world].contiguous(memory_format=torch.channels_last), None


class Taught(Wider):
    """The same crops, and instead of their originals what a teacher makes of their LR versions in eight looks. On its pictures a network learns to see in one look what eight saw.
    Such a picture turns with its crop. So eight batches of crops are taught at once, and learned from in all their orientations, shuffled: a lesson of 64 steps."""
    def __init__(self, photos, crop: int, teacher):
        super().__init__(photos, crop)
        self.teacher = load_generator(teacher).to("cuda" if torch.cuda.is_available() else "cpu")

    @lru_cache(maxsize=2) # for a sample picture, which shows step 0, does not make the teacher forget where it was
    @torch.no_grad()
    def lesson(self, batch: int, *which) -> tuple:
        lr, _ = make_pair(super().draw(8 * batch, *which)[0])
        seen = torch.cat([to_unit(self_ensemble(self.teacher, part)) for part in lr.split(batch)])
        return tuple((255 * to_8bit(x)).round().byte() for x in (seen, lr))

    def draw(self, batch: int, seed: int, step: int, rank: int = 0, world: int = 1) -> tuple:
        lesson, page = divmod(step, 64)
        pictures = self.lesson(batch, seed, lesson, rank, world)
        order = np.random.default_rng([seed, lesson]).permutation(64 * batch // world)
        crops, sides = np.divmod(np.split(order, 64)[page], 8)
        return tuple(torch.stack([x[crop].rot90(side, (-2, -1)).flip([-1] if side >= 4 else []) for crop, side in zip(crops, sides.tolist())]) for x in pictures)


PARTS = dict( # the stage, its settings, whose weights it starts from, the seed of its crops, and what they are cut from, made of the photographs, the crop's side and the weights before
    srresnet=("srresnet", SRRESNET, None, 0, lambda photos, *_: photos), wider=("srresnet", WIDER, "srresnet", 11, lambda photos, crop, _: Wider(photos, crop)),
    taught=("srresnet", TAUGHT, "wider", 21, Taught), srgan=("srgan", SRGAN, "srresnet", 2, lambda photos, *_: photos), fine=("srgan", FINE, "srgan", 3, lambda photos, *_: photos))
# Seeds: no part draws another's crops, nor those that finish.py draws by 1; Wider takes four in a row.


def evaluation(eval_dir: Path):
    "What `train` calls after each save: the figures of the averaged generator, appended to evaluations.jsonl."
    def evaluate(run: Path, stage: str, step: int) -> None:
        shutil.copy(run / "generator.safetensors", run / f"generator-{stage}-{step}.safetensors") # for recipes/finish.py
        line = dict(stage=stage, step=step) | figures(run, eval_dir)
        with open(run / "evaluations.jsonl", "a", encoding="utf-8") as file: file.write(json.dumps(line) + "\n")
        print(line)
    return evaluate


def meet(run: Path, step: int, teacher: Path) -> None:
    "Half way between what was taught and its teacher is better than both; their BatchNorm is the same."
    generator = averaged([run / f"generator-srresnet-{step}.safetensors", teacher])
    with atomic_path(run / "generator.safetensors") as temporary: save_generator(generator, temporary, stage="srresnet", step=step)


def main(
    part: Annotated[Literal[tuple(PARTS)], typer.Argument(help="Which weights to train; PARTS says whose each starts from.")],
    photos: Annotated[Path, typer.Option(help="Photographs to train on.")],
    evaluate: Annotated[Path, typer.Option("--eval", help="The folder of Set5 and Set14, each with HR and LRbicx4.")],
    runs: Annotated[Path, typer.Option(help="Where the run folders are.")],
    vgg: Annotated[Optional[Path], typer.Option(help="VGG19 weights (safetensors); else torchvision downloads them.")] = None,
    init: Annotated[Optional[str], typer.Option(help="Start from these weights: a generator, a run, or a slim checkpoint.")] = None,
    steps: Annotated[Optional[int], typer.Option(min=1, help="Length of the part, instead of the recipe's.")] = None,
    batch: Annotated[Optional[int], typer.Option(min=1, help="Crops a step, instead of the recipe's.")] = None,
    compile: Annotated[bool, typer.Option("--compile", help="Compile the generator; worth it on a GPU.")] = False,
):
    stage, config, before, seed, source = PARTS[part]
    if torch.cuda.is_available(): torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0))) # for the crops and the teacher, which are there before the Accelerator
    if steps: config = replace(config, **{stage: replace(getattr(config, stage), steps=steps)})
    if batch: config = replace(config, batch=batch)
    run = runs / part
    resume = read_record(run) is not None
    start = before and runs / before
    train(config, source(photos, config.crop, start), run, stage, init=init or start, vgg=vgg, resume=resume, seed=seed, compile=compile, on_save=evaluation(evaluate))
    if not is_finished(run): sys.exit(f"{part}: stopped; the same command goes on") # so that release.sh does not
    if os.environ.get("RANK", "0") != "0": return
    if part == "taught": meet(run, config.srresnet.steps, start)
    if config.fixed_batchnorm: anchor(run, photos)


if __name__ == "__main__": typer.run(main)
