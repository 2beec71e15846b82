"""The last touch to an adversarial run: average several of its generators, and take out the mean colour they are off by.

    python recipes/finish.py --photos DIR -o OUT GENERATOR [GENERATOR ...]

A generator in the game circles around a better one, more widely than the running average reaches; the mean of points far
apart on its way is nearer to it. What cast is left over all photographs is taken off the bias of the last convolution,
three numbers, measured on crops of the training photographs. OUT is the run's folder (its checkpoints keep the weights as they were) or a copy of it.
"""
import argparse
from pathlib import Path

import torch

from srgan_nb.data import PhotoStore, crop_batch, make_pair
from srgan_nb.generator import Generator, load_generator, read_tensors, save_generator
from srgan_nb.utils import atomic_path


def averaged(files: list) -> Generator:
    "The mean of parameters and BatchNorm statistics."
    generator, *others = map(load_generator, files)
    states = [g.state_dict() for g in (generator, *others)]
    generator.load_state_dict({key: sum(state[key] for state in states) / len(states) if t.is_floating_point() else t for key, t in states[0].items()})
    return generator


@torch.no_grad()
def calibrate(generator: Generator, photos, batches: int = 25, crop: int = 192) -> torch.Tensor:
    "Take the mean colour difference over crops of `photos` off the last bias; gives it, in units of [-1, 1]."
    store = PhotoStore(photos, crop)
    pairs = (make_pair(crop_batch(store, 8, seed=0, step=step)) for step in range(batches))
    cast = torch.stack([(generator(lr) - hr).mean((0, 2, 3)) for lr, hr in pairs]).mean(0)
    generator.tail.bias -= cast
    return cast


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generators", nargs="+"); parser.add_argument("--photos", type=Path, required=True); parser.add_argument("-o", "--out", type=Path, required=True)
    o = parser.parse_args()
    generator = averaged(o.generators)
    print("mean colour shift taken out, 8-bit levels:", [round(value, 2) for value in (127.5 * calibrate(generator, o.photos)).tolist()])
    o.out.mkdir(parents=True, exist_ok=True)
    step = max(int(read_tensors(file, "generator")[0]["step"]) for file in o.generators)
    with atomic_path(o.out / "generator.safetensors") as temporary: save_generator(generator, temporary, stage="srgan", step=step, averaged=len(o.generators))


if __name__ == "__main__": main()
