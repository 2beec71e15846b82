"""Finish an adversarial run: average several of its generators, and remove their mean colour shift.

    python recipes/finish.py --photos DIR -o OUT GENERATOR [GENERATOR ...] [--start GENERATOR --beyond 0.05]

In adversarial training a generator circles around a better one, in wider loops than the running average smooths out.
The mean of points far apart on its path is closer to that better one. --start is the SRResNet that the adversarial
stage began with: on the line from there to the mean, a small step past the mean makes sharper pictures, and costs
some PSNR.

The mean of two networks' BatchNorm statistics is not what the mean network needs, so we measure the statistics
again. The colour shift that remains, averaged over all photographs, is subtracted from the bias of the last
convolution: three numbers. Both are measured on crops of the training photographs.

OUT is the run's folder (its checkpoints keep the original weights) or a copy of it.

`recalibrate_batchnorm` and `remove_colour_shift` finish the parts that release.py trains with BatchNorm fixed.
"""
import argparse
from pathlib import Path

import torch
from torch.optim.swa_utils import update_bn

from srgan_nb.data import PhotoStore, make_pair
from srgan_nb.files import atomic_path, read_tensors
from srgan_nb.generator import Generator
from srgan_nb.weights import load_generator, save_generator


def averaged(files: list) -> Generator:
    "The mean of the generators' parameters. Its BatchNorm statistics still have to be measured."
    generator, *others = map(load_generator, files)
    states = [g.state_dict() for g in (generator, *others)]
    mean = states[0].copy()
    for key, tensor in mean.items():
        if tensor.is_floating_point(): mean[key] = sum(state[key] for state in states) / len(states)
    generator.load_state_dict(mean)
    return generator


@torch.no_grad()
def extrapolate_weights(generator: Generator, start: Generator, share: float) -> None:
    """Move the parameters further away from `start`, by `share` of the distance so far.

    The BatchNorm statistics still have to be measured.
    """
    for here, there in zip(generator.parameters(), start.parameters(), strict=True): here += share * (here - there)


def pairs_of(store: PhotoStore, batch: int, batches: int):
    "Batches of LR and HR crops, drawn with seed 1: no part of release.py uses it."
    for step in range(batches):
        hr, lr = store.draw(batch, seed=1, step=step)
        yield make_pair(hr, lr=lr)


def rewrite(run: Path, generator: Generator) -> None:
    "Write a run's generator again, with what it says about itself."
    about = {key: generator.about[key] for key in ("stage", "step", "config") if key in generator.about}
    with atomic_path(run / "generator.safetensors") as temporary: save_generator(generator, temporary, **about)


@torch.no_grad()
def calibrate(generator: Generator, pairs) -> None:
    "Subtract the mean colour difference over `pairs` from the last bias."
    shifts = [(generator(lr) - hr).mean((0, 2, 3)) for lr, hr in pairs]
    shift = torch.stack(shifts).mean(0)
    generator.tail.bias -= shift
    print("mean colour shift removed, 8-bit levels:", [round(127.5 * value, 2) for value in shift.tolist()])


def remove_colour_shift(run: Path, store: PhotoStore) -> None:
    "Take the mean colour difference over a store's crops off the last bias of a run's generator."
    generator = load_generator(run).eval()
    calibrate(generator, pairs_of(store, batch=8, batches=25))
    rewrite(run, generator)


@torch.no_grad()
def recalibrate_batchnorm(run: Path, store: PhotoStore) -> None:
    """Give each BatchNorm of a run's generator the statistics of a store's crops, and keep the network's output.

    After training with BatchNorm fixed, the statistics are those of older weights: in training mode the network would
    compute something else. New weights and biases make up for the new statistics, so that in evaluation mode it
    computes the same as before. (The cards of the shipped weights call this `anchor`.)
    """
    generator = load_generator(run).eval()
    layers = [layer for layer in generator.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    moments = {layer: [] for layer in layers} # mean and mean square of each batch, by channel
    def measure(layer, inputs):
        x = inputs[0]
        moments[layer].append(torch.stack([x.mean((0, 2, 3)), x.square().mean((0, 2, 3))]))
    for layer in layers: layer.register_forward_pre_hook(measure)
    for lr, _ in pairs_of(store, batch=16, batches=40): generator(lr)
    for layer in layers:
        mean, mean_square = torch.stack(moments[layer]).mean(0)
        variance = mean_square - mean ** 2
        old_std = (layer.running_var + layer.eps).sqrt()
        new_std = (variance + layer.eps).sqrt()
        layer.bias += layer.weight * (mean - layer.running_mean) / old_std
        layer.weight *= new_std / old_std
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)
    rewrite(run, generator)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generators", nargs="+")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--start", help="the generator that the adversarial stage began with")
    parser.add_argument("--beyond", type=float, default=0.05, help="the step past the mean, as a share of the line")
    args = parser.parse_args()
    # Read first, so that a file without a step fails before the work begins.
    step = max(int(read_tensors(file, "generator")[0]["step"]) for file in args.generators)
    generator = averaged(args.generators)
    if args.start: extrapolate_weights(generator, load_generator(args.start), args.beyond)
    # Crops as large as in training: larger ones have fewer edges, and so other statistics.
    update_bn(pairs_of(PhotoStore(args.photos, 96), batch=16, batches=200), generator)
    generator.eval()
    calibrate(generator, pairs_of(PhotoStore(args.photos, 192), batch=8, batches=25))
    about = dict(stage="srgan", step=step, averaged=len(args.generators), beyond=args.beyond if args.start else 0.)
    args.out.mkdir(parents=True, exist_ok=True)
    with atomic_path(args.out / "generator.safetensors") as temporary: save_generator(generator, temporary, **about)


if __name__ == "__main__": main()
