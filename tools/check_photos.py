"""Keep evaluation pictures out of the training set: compare both by hashes of their thumbnails.

    python tools/check_photos.py PHOTOS EVAL [EVAL ...]

Each picture becomes a thumbnail of 17 x 16 grey pixels, and the thumbnail becomes 256 bits: is a pixel brighter than
its right neighbour? Resizing, recompression and small changes of colour flip few bits; two different photographs
differ in about half of them. Mirrored and rotated copies are found too. A crop of a photograph is not recognised.
"""
import sys

import numpy as np
from PIL import Image

from srgan_nb.data import find_photos
from srgan_nb.utils import open_photo

SIDE = 16
MAX_DIFFERENCE = 0.15 # share of bits: copies differ in fewer, different photographs in about half


def thumbnail_hash(
    photo: Image.Image, # any size, any mode that Pillow can convert to grey
) -> np.ndarray: # `(256,)`, bool
    "Where the picture gets brighter from left to right, at the scale of a thumbnail."
    small = photo.convert("L").resize((SIDE + 1, SIDE), Image.BOX)
    pixels = np.asarray(small, dtype=np.int16)
    return (pixels[:, 1:] > pixels[:, :-1]).ravel()


def orientations(photo: Image.Image) -> list: # eight `Image`s
    "The picture rotated and mirrored in every way."
    angles = (Image.ROTATE_90, Image.ROTATE_180, Image.ROTATE_270)
    rotated = [photo, *(photo.transpose(angle) for angle in angles)]
    return rotated + [picture.transpose(Image.FLIP_LEFT_RIGHT) for picture in rotated]


def hashes_of(folders) -> tuple: # paths, and their hashes `(n, 256)`; each path eight times
    "The pictures of `folders`, in all orientations."
    paths, hashes = [], []
    for folder in folders:
        for path in find_photos(folder):
            for picture in orientations(open_photo(path)):
                paths.append(path)
                hashes.append(thumbnail_hash(picture))
    return paths, np.stack(hashes)


def copies(
    photos, # folder of photos to train on
    *evaluations, # folders of evaluation pictures
) -> list: # a tuple for each copy: photo, most similar picture, share of bits that differ
    "The photos that are also in an evaluation set."
    paths, hashes = hashes_of(evaluations)
    matches = []
    for path in find_photos(photos):
        try: photo = open_photo(path)
        except (ValueError, OSError) as error:
            print(f"skipped: {error}") # training skips it too
            continue
        differences = (hashes != thumbnail_hash(photo)).mean(axis=1)
        nearest = int(differences.argmin())
        if differences[nearest] < MAX_DIFFERENCE: matches.append((path, paths[nearest], differences[nearest]))
    return matches


def main():
    if len(sys.argv) < 3: sys.exit(__doc__)
    photos, *evaluations = sys.argv[1:]
    matches = copies(photos, *evaluations)
    for photo, picture, share in matches: print(f"{photo} is {picture} ({share:.0%} of the bits differ)")
    if matches: sys.exit(f"{len(matches)} photos are also evaluation pictures: remove them before training")
    print(f"none of {len(find_photos(photos))} photos is an evaluation picture")


if __name__ == "__main__": main()
