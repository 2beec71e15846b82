"""The training behind the weights that ship, laid out straight (their cards say how they really came about): SRResNet on pixels, and a last part on more varied crops; SRGAN-VGG54 from SRResNet, and that once more, slower and louder; each judged at every checkpoint.

    python recipes/release.py srresnet --photos DIR --eval DIR --runs DIR
    python recipes/release.py wider --photos DIR --eval DIR --runs DIR
    python recipes/release.py srgan --photos DIR --eval DIR --runs DIR --vgg FILE
    python recipes/release.py fine --photos DIR --eval DIR --runs DIR --vgg FILE

Called again it continues. On several GPUs: `accelerate launch recipes/release.py ...`. `recipes/release.sh` is all of it,
from the check of the photographs to the cards.

The run folders are RUNS/srresnet, RUNS/wider, RUNS/srgan and RUNS/fine; each also holds evaluations.jsonl, a line for every checkpoint with the
figures `srgan evaluate --perceptual` gives on Set5 and Set14, and keeps the averaged generator of each.
"""
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Optional

import numpy as np
import torch
import typer
from PIL import Image

from srgan_nb.data import PhotoStore, crop_batch
from srgan_nb.training import PAPER, Stage, is_finished, read_record, train

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
from ship import figures

# What is not in the paper, and why, stands in the ledgers of 00_paper and 07_training.
SRRESNET = replace(PAPER, name="release", srresnet=Stage(40_000, rate=5e-4, schedule="cosine", warmup=300), srgan=Stage(),
    crop=128, batch=32, log_every=100, save_every=1000)
WIDER = replace(SRRESNET, name="wider", srresnet=Stage(10_000, rate=1e-4, schedule="cosine", warmup=100), crop=192, batch=4, fixed_batchnorm=True, ema=0.998, save_every=500)
SRGAN = replace(PAPER, name="release", srresnet=Stage(), srgan=Stage(3000, rate=1e-4, warmup=50), beta1=0.5, feature_scale=1 / 40,
    pixel_weight=0.5, adversarial_weight=5e-2, joint=True, d_rate=2., d_warmup=300, log_every=100, save_every=200)
FINE = replace(SRGAN, srgan=Stage(650, rate=3e-5, warmup=50), pixel_weight=0.25, adversarial_weight=0.1, d_rate=4., d_warmup=150, log_every=20, save_every=100)
PARTS = dict( # the stage, its settings, whose weights it starts from, and the seed of its crops: none draws another's (nor what finish.py draws by 1)
    srresnet=("srresnet", SRRESNET, None, 0), wider=("srresnet", WIDER, "srresnet", 11), srgan=("srgan", SRGAN, "srresnet", 2), fine=("srgan", FINE, "srgan", 3))


class Wider(PhotoStore):
    """The photographs and, for a half of each batch, the same made smaller, by 3/4 and by 1/2: finer detail per pixel, which the
    network has not seen. Two crops in five get a random order of red, green and blue."""
    def __init__(self, photos, crop: int):
        super().__init__(photos, crop)
        def shrunk(pixels, size): return Image.fromarray(pixels).resize((round(pixels.shape[1] * size), round(pixels.shape[0] * size)), Image.BICUBIC)
        self.smaller = [PhotoStore({name: shrunk(pixels, size) for name, pixels in zip(self.names, self.pixels)}, crop) for size in (3 / 4, 1 / 2)]

    def draw(self, batch: int, seed: int, step: int, rank: int = 0, world: int = 1) -> tuple:
        shares = batch - 2 * (batch // 4), batch // 4, batch // 4
        crops = torch.cat([crop_batch(store, share, seed + k, step) for k, (store, share) in enumerate(zip([self, *self.smaller], shares)) if share])
        rng = np.random.default_rng([seed, step])
        return torch.stack([crop[rng.permutation(3)] if rng.random() < 0.4 else crop for crop in crops])[rank::world], None


def evaluation(eval_dir: Path):
    "What `train` calls after each save: the figures of the averaged generator, appended to evaluations.jsonl."
    def evaluate(run: Path, stage: str, step: int) -> None:
        shutil.copy(run / "generator.safetensors", run / f"generator-{stage}-{step}.safetensors") # for recipes/finish.py
        line = dict(stage=stage, step=step) | figures(run, eval_dir)
        with open(run / "evaluations.jsonl", "a") as file: file.write(json.dumps(line) + "\n")
        print(line)
    return evaluate


def main(
    part: Annotated[Literal["srresnet", "wider", "srgan", "fine"], typer.Argument(help="Which weights to train; wider and srgan start from RUNS/srresnet, fine from RUNS/srgan.")],
    photos: Annotated[Path, typer.Option(help="Photographs to train on.")],
    evaluate: Annotated[Path, typer.Option("--eval", help="The folder of Set5 and Set14, each with HR and LRbicx4.")],
    runs: Annotated[Path, typer.Option(help="Where the run folders are.")],
    vgg: Annotated[Optional[Path], typer.Option(help="VGG19 weights (safetensors); else torchvision downloads them.")] = None,
    init: Annotated[Optional[str], typer.Option(help="Start from these weights: a generator, a run, or a slim checkpoint.")] = None,
    steps: Annotated[Optional[int], typer.Option(min=1, help="Length of the part, instead of the recipe's.")] = None,
    batch: Annotated[Optional[int], typer.Option(min=1, help="Crops a step, instead of the recipe's.")] = None,
    compile: Annotated[bool, typer.Option("--compile", help="Compile the generator; worth it on a GPU.")] = False,
):
    stage, config, before, seed = PARTS[part]
    if steps: config = replace(config, **{stage: replace(getattr(config, stage), steps=steps)})
    if batch: config = replace(config, batch=batch)
    run = runs / part
    resume = read_record(run) is not None
    data = Wider(photos, config.crop) if part == "wider" else photos
    train(config, data, run, stage, init=init or before and runs / before, vgg=vgg, resume=resume, seed=seed, compile=compile, on_save=evaluation(evaluate))
    if not is_finished(run): sys.exit(f"{part}: stopped; the same command goes on") # so that release.sh does not


if __name__ == "__main__": typer.run(main)
