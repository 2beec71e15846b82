"""The last touch to an adversarial run: average several of its generators, and take out the mean colour they are off by.

    python recipes/finish.py --photos DIR -o OUT GENERATOR [GENERATOR ...] [--start GENERATOR --beyond 0.05]

A generator in the game circles around a better one, more widely than the running average reaches; the mean of points far
apart on its way is nearer to it. From `--start`, the SRResNet the game began with, to this mean leads a line, and a small
step beyond its end makes sharper pictures, for some PSNR. But the mean of two networks' BatchNorm statistics are not the
statistics of the mean network: they are measured anew. What cast is left over all photographs is then taken off the bias of the last convolution,
three numbers. Both are measured on crops of the training photographs. OUT is the run's folder (its checkpoints keep the weights as they were) or a copy of it.

`anchor` is another last touch, which release.py gives to what was trained with BatchNorm fixed.
"""
import argparse
from pathlib import Path

import torch
from torch.optim.swa_utils import update_bn

from srgan_nb.data import PhotoStore, crop_batch, make_pair
from srgan_nb.generator import Generator, load_generator, read_tensors, save_generator
from srgan_nb.utils import atomic_path


def averaged(files: list) -> Generator:
    "The mean of parameters; BatchNorm's statistics still have to be measured."
    generator, *others = map(load_generator, files)
    states = [g.state_dict() for g in (generator, *others)]
    generator.load_state_dict({key: sum(state[key] for state in states) / len(states) if t.is_floating_point() else t for key, t in states[0].items()})
    return generator


@torch.no_grad()
def go_beyond(generator: Generator, start: Generator, share: float) -> None:
    "Move the parameters on, away from `start`, by `share` of the way they have come; BatchNorm's statistics still have to be measured."
    for here, there in zip(generator.parameters(), start.parameters(), strict=True): here += share * (here - there)


def pairs_of(photos, crop: int, batch: int, batches: int):
    "LR and HR of crops by a seed of their own: none of the recipe's parts draws by 1."
    store = PhotoStore(photos, crop)
    return (make_pair(crop_batch(store, batch, seed=1, step=step)) for step in range(batches))


@torch.no_grad()
def calibrate(generator: Generator, pairs) -> torch.Tensor:
    "Take the mean colour difference over `pairs` off the last bias; gives it, in units of [-1, 1]."
    cast = torch.stack([(generator(lr) - hr).mean((0, 2, 3)) for lr, hr in pairs]).mean(0)
    generator.tail.bias -= cast
    return cast


@torch.no_grad()
def anchor(run: Path, photos) -> None:
    """Give each BatchNorm of a run's generator the statistics of what it sees, and a weight and bias with which it computes the same.
    After training with BatchNorm fixed they are those of older weights, and the network would be another in training mode."""
    generator = load_generator(run).eval()
    layers, seen = [layer for layer in generator.modules() if isinstance(layer, torch.nn.BatchNorm2d)], {}
    def look(layer, given): seen.setdefault(layer, []).append(torch.stack([given[0].mean((0, 2, 3)), given[0].square().mean((0, 2, 3))]))
    for layer in layers: layer.register_forward_pre_hook(look)
    for lr, _ in pairs_of(photos, crop=96, batch=16, batches=40): generator(lr)
    for layer in layers:
        mean, square = torch.stack(seen[layer]).mean(0)
        variance = square - mean ** 2
        old, new = (layer.running_var + layer.eps).sqrt(), (variance + layer.eps).sqrt()
        layer.bias += layer.weight * (mean - layer.running_mean) / old
        layer.weight *= new / old
        layer.running_mean.copy_(mean); layer.running_var.copy_(variance)
    with atomic_path(run / "generator.safetensors") as temporary: save_generator(generator, temporary, **{key: generator.about[key] for key in ("stage", "step", "config") if key in generator.about})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generators", nargs="+"); parser.add_argument("--photos", type=Path, required=True); parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--start", help="the generator the game began with"); parser.add_argument("--beyond", type=float, default=0.05, help="how far to go on from there, as a share of the way")
    o = parser.parse_args()
    step = max(int(read_tensors(file, "generator")[0]["step"]) for file in o.generators) # a file without one is told before the work
    generator = averaged(o.generators)
    if o.start: go_beyond(generator, load_generator(o.start), o.beyond)
    update_bn(pairs_of(o.photos, crop=96, batch=16, batches=200), generator) # crops as large as in training: larger ones have fewer edges and other statistics
    generator.eval()
    print("mean colour shift taken out, 8-bit levels:", [round(value, 2) for value in (127.5 * calibrate(generator, pairs_of(o.photos, crop=192, batch=8, batches=25))).tolist()])
    o.out.mkdir(parents=True, exist_ok=True)
    with atomic_path(o.out / "generator.safetensors") as temporary: save_generator(generator, temporary, stage="srgan", step=step, averaged=len(o.generators), beyond=o.beyond if o.start else 0.)


if __name__ == "__main__": main()
