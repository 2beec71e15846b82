#!/usr/bin/env bash
# All of the recipe: from photographs to shipped weights with their cards. Stopped and called again, it continues.
#
#   recipes/release.sh PHOTOS EVAL VGG RUNS
#
# PHOTOS  photographs to train on, with manifest.json (file, source, licence)
# EVAL    Set5 and Set14, each with HR and LRbicx4; never trained on, and that is checked
# VGG     VGG19's features (safetensors, torchvision's layout)
# RUNS    where the run folders shall be
#
# PYTHON may name another interpreter, LAUNCH another way to start it: LAUNCH="accelerate launch --num_processes 4".
# OPTIONS go to all five parts: OPTIONS="--compile" on a GPU.
set -euo pipefail
[ $# = 4 ] || { sed -n '2,/^set/p' "$0" | sed '$d'; exit 2; }
photos=$1 eval=$2 vgg=$3 runs=$4
here=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python} launch=${LAUNCH:-${PYTHON:-python}}

[ -f "$photos/manifest.json" ] || { echo "$photos/manifest.json is missing: file, source and licence of each photograph, for the cards"; exit 2; }
$python -c "import torch; from srgan_nb.metrics import lpips; lpips(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))" # what judges every checkpoint: is it installed?
$python "$here/tools/check_photos.py" "$photos" "$eval/Set5/HR" "$eval/Set14/HR"
for part in srresnet wider taught; do $launch "$here/recipes/release.py" $part --photos "$photos" --eval "$eval" --runs "$runs" ${OPTIONS:-}; done
for part in srgan fine; do $launch "$here/recipes/release.py" $part --photos "$photos" --eval "$eval" --runs "$runs" --vgg "$vgg" ${OPTIONS:-}; done
# The mean of the last four checkpoints' generators, a step beyond the end of its way, its BatchNorm measured anew and its mean colour set right.
(IFS=$'\n'; $python "$here/recipes/finish.py" --photos "$photos" -o "$runs/fine" --start "$runs/srresnet" $(ls "$runs"/fine/generator-srgan-*.safetensors | sort -V | tail -4)) # a name a line: they may hold spaces
ship() { $python "$here/tools/ship.py" "$@" --photos "$photos" --eval "$eval"; }
invents="anything that must be true: it invents texture; faces and text smaller than about ten pixels"
smooths="fine texture, which it smooths away; faces and text smaller than about ten pixels"
ship "$runs/srresnet" srresnet --bad-at "$smooths"
ship "$runs/wider" srresnet --bad-at "$smooths" --earlier "$here/srgan_nb/weights/srresnet.json" \
  --note "Crops of photographs made smaller, down to 3/8, a quarter of them turned; half of them negatives, two in five with their colours in a random order; BatchNorm fixed."
ship "$runs/taught" srresnet --bad-at "$smooths" --earlier "$here/srgan_nb/weights/srresnet.json" \
  --note "The same crops; to be matched are not their originals, but what eight looks of the generator before see (self_ensemble). The mean of what was taught and its teacher. BatchNorm fixed, then given statistics that fit (recipes/finish.py, anchor)."
ship "$runs/srgan" srgan --bad-at "$invents"
ship "$runs/fine" srgan --bad-at "$invents" --earlier "$here/srgan_nb/weights/srgan.json" \
  --note "The mean of the averaged generators of the last four checkpoints, 5 per cent further from SRResNet, BatchNorm measured anew, the mean colour shift over the training photographs taken off the last bias (recipes/finish.py)."
