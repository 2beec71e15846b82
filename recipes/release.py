"""Train the weights that ship, in nine parts.

    python recipes/release.py srresnet --photos DIR --valid DIR --runs DIR
    python recipes/release.py wider --photos DIR --valid DIR --runs DIR
    python recipes/release.py taught --photos DIR --valid DIR --runs DIR
    python recipes/release.py srgan --photos DIR --valid DIR --runs DIR --vgg FILE
    python recipes/release.py fine --photos DIR --valid DIR --runs DIR --vgg FILE
    python recipes/release.py phases --photos DIR --valid DIR --runs DIR --vgg FILE
    python recipes/release.py pairs --photos DIR --valid DIR --runs DIR --vgg FILE
    python recipes/release.py photo-pixels --photos DIR --valid DIR --runs DIR
    python recipes/release.py photo --photos DIR --valid DIR --runs DIR --vgg FILE

`srresnet` trains on pixels, `wider` goes on with more varied crops, `taught` learns from its own self-ensemble (8x).
`srgan` is SRGAN-VGG54, started from `srresnet`, `fine` goes on with a lower rate and a stronger adversarial loss, and
`phases` removes the dots. In `pairs`, D compares, and VGG looks from five layers. `photo-pixels` goes on from `taught`
on degraded LR, and `photo` plays the game from there.
This is the straight path: the cards of the weights tell how they really came about.

The same command continues a stopped part. On several GPUs: `accelerate launch recipes/release.py ...`. For
everything in one go, from checking the photographs to writing the cards, use `recipes/release.sh`.

The run folders are RUNS/srresnet, RUNS/wider and so on. For every checkpoint, a run folder keeps the averaged
generator and a line in evaluations.jsonl, with the figures of `srgan evaluate --perceptual` on the photographs of
--valid, which are there to choose by. Set5 and Set14 are for the table: tools/measure.py looks at them once.
"""
import json
import os
import shutil
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import typer

from srgan_nb.config import PAPER, Config, Stage
from srgan_nb.data import PhotoStore, crop_batch, make_pair
from srgan_nb.degradations import DegradedStore
from srgan_nb.evaluation import evaluate_folder
from srgan_nb.files import atomic_path
from srgan_nb.inference import self_ensemble
from srgan_nb.photo_cache import move_to_device
from srgan_nb.run_folder import read_record
from srgan_nb.training import train
from srgan_nb.utils import to_8bit, to_unit
from srgan_nb.weights import load_generator, save_generator

from finish import averaged, recalibrate_batchnorm, remove_colour_shift

# 00_paper and 07_training list what is not in the paper, and why.
SRRESNET = replace(
    PAPER, name="release", crop=128, batch=32, log_every=100, save_every=1000,
    srresnet=Stage(40_000, rate=5e-4, schedule="cosine", warmup=300), srgan=Stage(),
)
WIDER = replace(
    SRRESNET, name="wider", crop=192, batch=16, clip=0.03, fixed_batchnorm=True,
    srresnet=Stage(90_000, rate=3e-4, schedule="cosine", warmup=200),
)
TAUGHT = replace(
    WIDER, name="taught", clip=0.002, save_every=400,
    srresnet=Stage(2_400, rate=1e-4, schedule="cosine", warmup=50),
)
SRGAN = replace(
    PAPER, name="release", beta1=0.5, joint=True, d_rate=2., d_warmup=300, log_every=100, save_every=200,
    srresnet=Stage(), srgan=Stage(3000, rate=1e-4, warmup=50),
    feature_scale=1 / 40, pixel_weight=0.5, adversarial_weight=5e-2,
)
FINE = replace(
    SRGAN, d_rate=4., d_warmup=150, log_every=20, save_every=100,
    srgan=Stage(650, rate=3e-5, warmup=50),
    pixel_weight=0.25, adversarial_weight=0.1,
)
PHASES = replace(
    SRGAN, name="phases", batch=8, d_warmup=150, ema=0.995, fixed_batchnorm=True, log_every=10, save_every=50,
    srgan=Stage(350, rate=1e-4, warmup=30),
    pixel_weight=0.1, phase_weight=5., jitter=16,
)
PAIRS = replace(
    PHASES, name="pairs", d_channels=32, d_rate=4., d_warmup=60, ema=0.99, save_every=100,
    srgan=Stage(1600, rate=1e-4, schedule="cosine", warmup=30),
    phi=((1, 2, 0.1), (2, 2, 0.1), (3, 4, 1.), (4, 4, 1.), (5, 4, 1.)), feature_scale=8e-5, content_kind="l1",
    lr_weight=50., adversarial_weight=0.012, pairs=True,
)
PHOTO_PIXELS = replace(
    PAPER, name="photo-pixels", clip=0.05, fixed_batchnorm=True, log_every=20, save_every=400,
    srresnet=Stage(2_400, rate=2e-4, schedule="cosine", warmup=50), srgan=Stage(),
)
PHOTO = replace(
    PAIRS, name="photo", d_rate=3., d_warmup=100, save_every=200,
    srgan=Stage(3_000, rate=1.5e-4, warmup=30),
    lr_weight=0.5, adversarial_weight=0.01,
)


def upload(rows, device) -> torch.Tensor:
    "Stack `rows` and copy them to the device, without waiting for the work it is doing."
    rows = torch.from_numpy(np.stack(rows))
    return rows.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else rows


def turned(crops: torch.Tensor, angle: float, side: int) -> torch.Tensor:
    "The central squares of `side` pixels, rotated by `angle` (radians); same range as `crops`, float."
    centred = torch.arange(side, device=crops.device) - (side - 1) / 2
    x = centred * (2 / crops.shape[-1]) # a whole crop would go from -1 to 1
    y = x[:, None]
    cos, sin = np.cos(angle), np.sin(angle)
    grid = torch.stack([cos * x - sin * y, sin * x + cos * y], -1)
    grid = grid.expand(len(crops), -1, -1, -1)
    return F.grid_sample(crops.float(), grid, "bicubic", "border", align_corners=False)


def channel_order(rng) -> np.ndarray:
    "Red, green and blue, in two of five cases in a random order."
    return rng.permutation(3) if rng.random() < 0.4 else np.arange(3)


class AugmentedStore(PhotoStore):
    """Crops of downscaled photographs, which hold finer detail per pixel, different at every step.

    Half of a batch is scaled to between 3/8 and 5/8, a quarter to above that, and a quarter is rotated by any angle,
    for edges in all directions. Half of the crops are negatives, and two in five have their colour channels in a
    random order.
    """
    KINDS = ( # smallest scale, largest scale, rotated?
        (3 / 8, 1 / 2, False),
        (1 / 2, 5 / 8, False),
        (5 / 8, 1, False),
        (11 / 20, 17 / 20, True),
    )

    def __init__(self, photos, crop: int):
        super().__init__(photos, crop)
        if torch.cuda.is_available(): move_to_device(self, "cuda")

    def shrunk(self, count: int, seed: int, step: int, size: float, angle: float) -> torch.Tensor:
        "Crops of photographs scaled by `size`, or by less if the smallest photograph has no room for it."
        room = self.sizes.min()
        growth = np.cos(angle) + np.sin(angle) # of the square that holds a rotated square
        inside = min(round(self.crop / size), int(room / growth))
        view = copy(self)
        view.crop = int(np.ceil(inside * growth))
        crops = crop_batch(view, count, seed, step)
        crops = turned(crops, angle, inside) if angle else crops.float()
        crops = F.interpolate(crops, (self.crop, self.crop), mode="bicubic", antialias=True)
        return crops.round().clamp(0, 255).byte()

    def draw(self, batch: int, seed: int, step: int, rank: int = 0, world: int = 1) -> tuple:
        rng = np.random.default_rng([seed, step])
        counts = [len(part) for part in np.array_split(range(batch), len(self.KINDS))]
        parts = []
        for k, (smallest, largest, is_rotated) in enumerate(self.KINDS):
            size = rng.uniform(smallest, largest)
            angle = np.radians(rng.uniform(5, 85))
            if not counts[k]: continue
            parts.append(self.shrunk(counts[k], seed + k, step, size, angle if is_rotated else 0.))
        crops = torch.cat(parts)
        orders = upload([channel_order(rng) for _ in crops], crops.device)
        crops = crops.gather(1, orders[:, :, None, None].expand_as(crops))
        negative = upload(255 * rng.integers(0, 2, (len(crops), 1, 1, 1), np.uint8), crops.device)
        crops = crops ^ negative # 255 ^ x is 255 - x
        return crops[rank::world].contiguous(memory_format=torch.channels_last), None


class ScaledStore(PhotoStore):
    "Half of a batch are crops of photographs as they are, half of photographs shrunk to between 2/5 and 1."
    def draw(self, batch: int, seed: int, step: int, rank: int = 0, world: int = 1) -> tuple:
        scale = np.random.default_rng([seed, step, 3]).uniform(0.4, 1)
        larger = copy(self)
        larger.crop = round(self.crop / scale)
        shrunk = crop_batch(larger, batch // 2, seed + 1, step).float()
        shrunk = F.interpolate(shrunk, (self.crop, self.crop), mode="bicubic", antialias=True)
        plain = crop_batch(self, batch - batch // 2, seed, step)
        return torch.cat([plain, shrunk.round().clamp(0, 255).byte()])[rank::world], None


def oriented(crop: torch.Tensor, orientation: int) -> torch.Tensor:
    "One of eight orientations: rotated, and from 4 on mirrored too."
    rotated = crop.rot90(orientation, (-2, -1))
    return rotated.flip(-1) if orientation >= 4 else rotated


class DistilledStore(AugmentedStore):
    """The same crops, but the targets are a teacher's self-ensemble (8x) instead of the originals.

    So a network learns to give in one pass what the teacher gives in eight. Such targets are expensive, but they can be
    rotated and mirrored with their LR versions. We make eight batches at once and use each pair in all eight
    orientations, shuffled: enough for 64 steps.
    """
    def __init__(self, photos, crop: int, teacher):
        super().__init__(photos, crop)
        self.teacher = load_generator(teacher).to("cuda" if torch.cuda.is_available() else "cpu")

    # Two, because drawing a sample picture, which shows step 0, must not evict the current pairs:
    @lru_cache(maxsize=2) # noqa: B019
    @torch.no_grad()
    def eight_batches(self, batch: int, seed: int, block: int, rank: int, world: int) -> tuple:
        "Targets and LR for 64 steps."
        crops, _ = super().draw(8 * batch, seed, block, rank, world)
        lr, _ = make_pair(crops)
        targets = torch.cat([to_unit(self_ensemble(self.teacher, part)) for part in lr.split(batch)])
        return tuple((255 * to_8bit(x)).round().byte() for x in (targets, lr))

    def draw(self, batch: int, seed: int, step: int, rank: int = 0, world: int = 1) -> tuple:
        block, page = divmod(step, 64)
        pairs = self.eight_batches(batch, seed, block, rank, world)
        order = np.random.default_rng([seed, block]).permutation(64 * batch // world)
        crops, orientations = np.divmod(np.split(order, 64)[page], 8)
        picks = list(zip(crops, orientations.tolist()))
        return tuple(torch.stack([oriented(x[crop], orientation) for crop, orientation in picks]) for x in pairs)


class ScaledDegradedStore(DegradedStore, ScaledStore):
    "The same crops, and their LR is degraded."


def plain(photos, crop, start): return photos


def augmented(photos, crop, start): return AugmentedStore(photos, crop)


def scaled(photos, crop, start): return ScaledStore(photos, crop)


def degraded(photos, crop, start): return DegradedStore(photos, crop)


def scaled_degraded(photos, crop, start): return ScaledDegradedStore(photos, crop)


class Part(NamedTuple):
    stage: str # `srresnet` or `srgan`
    config: Config
    start: str | None # the part whose weights this one starts from
    seed: int # for the crops
    data: Callable = plain # makes the training data from the photographs, the crops' side and the weights to start from
    measured: Callable = PhotoStore # makes the crops that a finished network is measured on


# Seeds: no part draws another's crops, nor those of finish.py (seed 1). AugmentedStore uses four seeds in a row.
PARTS = dict(
    srresnet=Part("srresnet", SRRESNET, start=None, seed=0),
    wider=Part("srresnet", WIDER, start="srresnet", seed=11, data=augmented),
    taught=Part("srresnet", TAUGHT, start="wider", seed=21, data=DistilledStore),
    srgan=Part("srgan", SRGAN, start="srresnet", seed=2),
    fine=Part("srgan", FINE, start="srgan", seed=3),
    phases=Part("srgan", PHASES, start="fine", seed=52, data=scaled),
    pairs=Part("srgan", PAIRS, start="phases", seed=71, data=scaled),
)
PARTS["photo-pixels"] = Part("srresnet", PHOTO_PIXELS, start="taught", seed=41, data=degraded, measured=DegradedStore)
PARTS["photo"] = Part("srgan", PHOTO, start="photo-pixels", seed=42, data=scaled_degraded, measured=DegradedStore)


def evaluation(valid: Path):
    "A callback for `train`, called after each save: it appends the averaged generator's figures to evaluations.jsonl."
    def evaluate(run: Path, stage: str, step: int) -> None:
        kept = run / f"generator-{stage}-{step}.safetensors" # for recipes/finish.py
        shutil.copy(run / "generator.safetensors", kept)
        line = dict(stage=stage, step=step) | evaluate_folder(valid / "HR", weights=run, perceptual=True)["mean"]
        with open(run / "evaluations.jsonl", "a", encoding="utf-8") as file: file.write(json.dumps(line) + "\n")
        print(line)
    return evaluate


def checkpoints(run: Path, stage: str) -> list[Path]:
    "The averaged generators that `evaluation` kept, the oldest first."
    return sorted(run.glob(f"generator-{stage}-*.safetensors"), key=lambda path: int(path.stem.split("-")[-1]))


def write_mean(run: Path, generators: list, stage: str, step: int) -> None:
    "Write the mean of generators, which is better than each of them. Their BatchNorm is the same."
    with atomic_path(run / "generator.safetensors") as temporary:
        save_generator(averaged(generators), temporary, stage=stage, step=step)


def main(
    part: Annotated[Literal[tuple(PARTS)], typer.Argument(help="The weights to train.")],
    photos: Annotated[Path, typer.Option(help="Photographs to train on.")],
    valid: Annotated[Path, typer.Option(help="Its folder HR holds photographs to choose checkpoints by.")],
    runs: Annotated[Path, typer.Option(help="Folder of the run folders.")],
    vgg: Annotated[Path | None, typer.Option(help="VGG19 weights (safetensors). Default: download them.")] = None,
    init: Annotated[str | None, typer.Option(help="Start from this generator, run or slim checkpoint.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps, instead of the recipe's.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Crops per step, instead of the recipe's.")] = None,
    compile: Annotated[bool, typer.Option("--compile", help="Compile the generator; worth it on a GPU.")] = False,
):
    stage, config, start_part, seed, data, measured = PARTS[part]
    if torch.cuda.is_available():
        # The crops and the teacher need their GPU before train creates the Accelerator.
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    if steps: config = replace(config, **{stage: replace(getattr(config, stage), steps=steps)})
    if batch: config = replace(config, batch=batch)
    run, start = runs / part, start_part and runs / start_part
    train(
        config, data(photos, config.crop, start), run, stage,
        init=init or start, vgg=vgg, resume=read_record(run) is not None, seed=seed, compile=compile,
        on_save=evaluation(valid),
    )
    if os.environ.get("RANK", "0") != "0": return
    kept, step = checkpoints(run, stage), getattr(config, stage).steps
    if part == "taught": write_mean(run, [kept[-1], start], stage, step) # of student and teacher
    if part == "pairs": write_mean(run, kept[-12:], stage, step)
    if part == "photo": write_mean(run, kept[-7:], stage, step)
    if not config.fixed_batchnorm: return
    recalibrate_batchnorm(run, measured(photos, 96))
    if stage == "srgan": remove_colour_shift(run, measured(photos, 192))


if __name__ == "__main__": typer.run(main)
