"""Refuse to train on pictures one will be judged by: compare photos with evaluation sets by hashes of their thumbnails.

    python tools/check_photos.py PHOTOS EVAL [EVAL ...]

Each picture becomes a thumbnail of 17 x 16 grey pixels, and the thumbnail 256 bits: is a pixel brighter than its right
neighbour? Resizing, recompressing and small changes of colour flip few of them; two different photographs differ in about
half. Mirrored and turned copies are looked for, too. A part cut out of a photograph is not recognised.
"""
import sys

import numpy as np
from PIL import Image

from srgan_nb.data import find_photos
from srgan_nb.utils import open_photo

SIDE = 16
ALIKE = 0.15 # share of bits: copies differ in less, photographs by chance in half


def thumbnail_hash(
    photo: Image.Image, # any size, any mode Pillow turns grey
) -> np.ndarray: # `(256,)`, bool
    "What stays of a picture when only its coarse ups and downs are kept."
    small = np.asarray(photo.convert("L").resize((SIDE + 1, SIDE), Image.BOX), dtype=np.int16)
    return (small[:, 1:] > small[:, :-1]).ravel()


def orientations(photo: Image.Image) -> list: # eight `Image`s
    "The picture turned and mirrored in all ways."
    turned = [photo, *(photo.transpose(turn) for turn in (Image.ROTATE_90, Image.ROTATE_180, Image.ROTATE_270))]
    return turned + [picture.transpose(Image.FLIP_LEFT_RIGHT) for picture in turned]


def copies(
    photos, # a folder of photos to train on
    *evaluations, # folders of pictures to be judged by
) -> list: # (photo, the picture most like it, share of bits that differ) of every photo that is alike
    "Photos that are also in an evaluation set."
    theirs = [(path, thumbnail_hash(turned)) for folder in evaluations for path in find_photos(folder) for turned in orientations(open_photo(path))]
    names, bits = [path for path, _ in theirs], np.stack([bits for _, bits in theirs])
    found = []
    for path in find_photos(photos):
        try: photo = open_photo(path)
        except (ValueError, OSError) as error: print(f"skipped: {error}"); continue # as training will
        differing = (bits != thumbnail_hash(photo)).mean(axis=1)
        nearest = int(differing.argmin())
        if differing[nearest] < ALIKE: found.append((path, names[nearest], differing[nearest]))
    return found


def main():
    if len(sys.argv) < 3: sys.exit(__doc__)
    photos, *evaluations = sys.argv[1:]
    found = copies(photos, *evaluations)
    for photo, picture, share in found: print(f"{photo} is {picture} ({share:.0%} of the bits differ)")
    if found: sys.exit(f"{len(found)} photos are also evaluation pictures: remove them before training")
    print(f"none of {len(find_photos(photos))} photos is an evaluation picture")


if __name__ == "__main__": main()
