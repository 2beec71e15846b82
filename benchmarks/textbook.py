"""The baseline of all comparisons: the paper's networks and pipeline, written the textbook way.

Eager float32 in NCHW, every layer where Fig. 4 draws it, nothing frozen, and PIL opens a photo for every crop. No
mistakes, no tricks.
"""
import random

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from srgan_nb.discriminator import Discriminator
from srgan_nb.generator import Generator
from srgan_nb.vgg import VGGFeatures


class DrawnGenerator(Generator):
    "The same parameters, computed from left to right as Fig. 4 draws them."
    def forward(self, lr):
        first = self.head(lr)
        x = self.upsample(first + self.merge(self.blocks(first)))
        return F.conv2d(x, self.tail.weight, self.tail.bias, padding=4)


def srresnet_step(batch: int):
    "A function that does one update with the pixel loss."
    g = DrawnGenerator().train()
    optimizer = torch.optim.Adam(g.parameters(), lr=1e-4)
    lr, hr = torch.rand(batch, 3, 24, 24), torch.rand(batch, 3, 96, 96) * 2 - 1
    def step():
        optimizer.zero_grad()
        F.mse_loss(g(lr), hr).backward()
        optimizer.step()
    return step


def srgan_step(batch: int):
    "A function that does one update of G and one of D."
    g, d = DrawnGenerator().train(), Discriminator().train()
    vgg = VGGFeatures(5, 4, weights=None).requires_grad_(True)
    g_optimizer, d_optimizer = (torch.optim.Adam(model.parameters(), lr=1e-4) for model in (g, d))
    lr, hr = torch.rand(batch, 3, 24, 24), torch.rand(batch, 3, 96, 96) * 2 - 1
    real, fake = torch.ones(batch, 1), torch.zeros(batch, 1)
    judge = nn.BCEWithLogitsLoss()
    def features(x): return vgg((x + 1) / 2) / 12.75
    def step():
        g_optimizer.zero_grad()
        sr = g(lr)
        content = F.mse_loss(features(sr), features(hr).detach())
        (content + 1e-3 * judge(d(sr), real)).backward()
        g_optimizer.step()
        d_optimizer.zero_grad()
        (judge(d(hr), real) + judge(d(sr.detach()), fake)).backward()
        d_optimizer.step()
    return step


def upscale(side: int):
    "A function that super-resolves a square of `side` LR pixels."
    g, lr = DrawnGenerator().eval(), torch.rand(1, 3, side, side)
    def run():
        with torch.no_grad(): return ((g(lr) + 1) / 2).clamp(0, 1).cpu() # a picture ends up in main memory
    return run


def to_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def pairs(paths: list, batch: int, crop: int = 96):
    "A function that makes one batch of LR and HR."
    def one_pair():
        image = Image.open(random.choice(paths)).convert("RGB")
        left, top = random.randint(0, image.width - crop), random.randint(0, image.height - crop)
        hr = image.crop((left, top, left + crop, top + crop))
        lr = hr.resize((crop // 4, crop // 4), Image.BICUBIC)
        return to_tensor(lr), to_tensor(hr)
    def draw():
        lrs, hrs = zip(*(one_pair() for _ in range(batch)))
        return [torch.stack(lrs), torch.stack(hrs)]
    return draw
