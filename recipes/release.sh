#!/usr/bin/env bash
# The whole recipe, from photographs to shipped weights with their cards. Run it again to continue where it stopped.
#
#   recipes/release.sh PHOTOS VALID EVAL VGG RUNS
#
# PHOTOS  photographs to train on, with manifest.json (file, source, licence)
# VALID   photographs to choose checkpoints by, in a folder HR
# EVAL    Set5 and Set14, each with HR and LRbicx4; never trained on (the script checks this)
# VGG     VGG19's features (safetensors, torchvision's layout)
# RUNS    folder for the run folders
#
# Set PYTHON to use another interpreter, and LAUNCH to start training in another way:
# LAUNCH="accelerate launch --num_processes 4". OPTIONS are passed to all parts: OPTIONS="--compile" on a GPU.
set -euo pipefail
[ $# = 5 ] || { sed -n '2,/^set/p' "$0" | sed '$d'; exit 2; }
photos=$1 valid=$2 eval=$3 vgg=$4 runs=$5
here=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python} launch=${LAUNCH:-${PYTHON:-python}}

if [ ! -f "$photos/manifest.json" ]; then
  echo "$photos/manifest.json is missing: the cards need file, source and licence of each photograph"
  exit 2
fi
# Every checkpoint is evaluated with LPIPS and DISTS: are they installed?
$python -c "
import torch
from srgan_nb.metrics import dists, lpips, st_lpips
for ruler in (lpips, dists, st_lpips): ruler(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))"
$python "$here/tools/check_photos.py" "$photos" "$valid/HR" "$eval/Set5/HR" "$eval/Set14/HR"

train() { $launch "$here/recipes/release.py" "$@" --photos "$photos" --valid "$valid" --runs "$runs" ${OPTIONS:-}; }
for part in srresnet wider taught; do train $part; done
for part in srgan fine; do train $part --vgg "$vgg"; done

# Average the generators of the last four checkpoints, step past the mean, measure BatchNorm, remove the colour shift.
# One name per line, because names may hold spaces.
(
  IFS=$'\n'
  $python "$here/recipes/finish.py" --photos "$photos" -o "$runs/fine" --start "$runs/srresnet" \
    $(ls "$runs"/fine/generator-srgan-*.safetensors | sort -V | tail -4)
)

for part in phases pairs; do train $part --vgg "$vgg"; done
train photo-pixels
train photo --vgg "$vgg"

ship() { $python "$here/tools/ship.py" "$@" --photos "$photos"; }
invents="anything that must be true: it invents texture; faces and text smaller than about ten pixels"
smooths="fine texture, which it smooths away; faces and text smaller than about ten pixels"

wider="Crops of downscaled photographs, down to 3/8, a quarter of them rotated; half of them negatives, two in five"
wider+=" with their colour channels in a random order; BatchNorm fixed."

taught="The same crops; the targets are not the originals, but the self-ensemble (8x) of the generator before."
taught+=" The mean of the trained weights and their teacher. BatchNorm fixed, then given statistics that fit"
taught+=" (recipes/finish.py, recalibrate_batchnorm)."

fine="The mean of the averaged generators of the last four checkpoints, 5 per cent further from SRResNet,"
fine+=" BatchNorm measured again, the mean colour shift over the training photographs subtracted from the last bias"
fine+=" (recipes/finish.py)."

phases="Half of the crops are of photographs shrunk to between 2/5 and 1; a term for the means of the sub-pixel phases,"
phases+=" and VGG sees a window that begins anywhere."

pairs="D compares each picture with its photograph, VGG looks from five layers before their ReLU, and a term asks for"
pairs+=" the mean under each LR pixel. The mean of the averaged generators of the last twelve checkpoints."

photo="LR crops are blurred, noisy and compressed at random (srgan_nb.degradations)."
photo_game="$photo The mean of the averaged generators of the last seven checkpoints."
worse="heavy noise, motion blur, JPEG below quality 30; anything that must be true: it invents texture"

shipped="$here/srgan_nb/weights"
ship "$runs/srresnet" srresnet --bad-at "$smooths"
ship "$runs/wider" srresnet --bad-at "$smooths" --earlier "$shipped/srresnet.json" --note "$wider"
ship "$runs/taught" srresnet --bad-at "$smooths" --earlier "$shipped/srresnet.json" --note "$taught"
ship "$runs/srgan" srgan --bad-at "$invents"
ship "$runs/fine" srgan --bad-at "$invents" --earlier "$shipped/srgan.json" --note "$fine"
ship "$runs/phases" srgan --bad-at "$invents" --earlier "$shipped/srgan.json" --note "$phases"
ship "$runs/pairs" srgan --bad-at "$invents" --earlier "$shipped/srgan.json" --note "$pairs"
ship "$runs/photo-pixels" photo --bad-at "$worse" --earlier "$shipped/srresnet.json" --note "$photo"
ship "$runs/photo" photo --bad-at "$worse" --earlier "$shipped/photo.json" --note "$photo_game"
$python "$here/tools/measure.py" --eval "$eval" --valid "$valid"
