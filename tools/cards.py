"""Make the small pictures: one for each chapter's card, cut from its own figures, and the one that a shared link shows.

    python tools/cards.py

They are written to nbs/images. Run it again when a figure it uses, or the shipped weights, have changed.
"""
import base64
import io
import json
from pathlib import Path

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont, ImageOps

from srgan_nb import Upscaler
from srgan_nb.data import crop_to_multiple, degrade, sample_photos
from srgan_nb.utils import _part, enlarge, photo_to_tensor

ROOT = Path(__file__).parent.parent
INK, PAPER = "#17405c", "#e9f2f7" # the palette's bar, and the favicon's light
FIGURES = { # notebook -> label of a figure, and the part of it: left, top, right, bottom as fractions
    "00_paper": ("fig-blur", (0.05, 0, 0.95, 1)),
    "01_utils": ("fig-show", (0.51, 0.12, 0.98, 0.97)),
    "02_data": ("fig-crops", (0.2, 0.2, 0.6, 0.95)),
    "03_metrics": ("fig-disagree", (0.345, 0.17, 0.995, 0.97)),
    "04_generator": ("fig-g", (0.33, 0.1, 0.943, 0.95)),
    "05_discriminator": ("fig-d", (0.1, 0.06, 0.713, 0.91)),
    "06_vgg": ("fig-maps", (0.16, 0.1, 0.42, 0.46)),
    "07_training": ("fig-curves", (0, 0, 0.255, 1)),
    "tutorials/celeba": ("fig-side-by-side", (0.34, 0.22, 0.665, 0.95)),
    "tutorials/your_photos": ("fig-before-after", (0.405, 0.11, 0.795, 0.96)),
    "tutorials/your_data": ("fig-ten", (0.41, 0.09, 0.79, 0.45)),
    "tutorials/several_gpus": ("fig-batch", (0.42, 0.0, 0.99, 1.0)),
    "08_inference": ("fig-upscale", (0.26, 0.17, 0.74, 0.93)),
    "09_cli": ("fig-demo", (0.605, 0.12, 0.795, 0.95)),
    "10_convert": ("fig-theirs", (0.40, 0.12, 0.80, 0.95)),
    "results": ("fig-wins", (0.61, 0.17, 0.99, 0.97)),
    "ablation": ("fig-ways", (0.4, 0.33, 0.98, 0.875)),
    "performance": ("fig-inference-speed", (0, 0, 0.7, 1)),
    "robustness": ("fig-memory", (0.35, 0.02, 0.99, 0.85)),
}


def figure(name: str, label: str) -> Image.Image:
    "The saved output of the cell with this label."
    cells = json.loads((ROOT / f"nbs/{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    cell = next(cell for cell in cells if f"#| label: {label}\n" in cell["source"])
    data = next(output["data"] for output in cell["outputs"] if "data" in output)
    return Image.open(io.BytesIO(base64.b64decode(data.get("image/png") or data["image/jpeg"]))).convert("RGB")


def before_after(name: str, box: tuple, size: tuple) -> Image.Image:
    "A part of a packaged photograph, shrunk by 4 and enlarged again: the left half by bicubic interpolation, the right by SRGAN."
    lr = degrade(crop_to_multiple(photo_to_tensor(sample_photos()[name]))[None])
    left, right = (ImageOps.fit(_part(x[0], box), size, Image.LANCZOS) for x in (enlarge(lr), Upscaler.from_pretrained("srgan", device="cpu", precision="fp32").upscale(lr)))
    left.paste(right.crop((size[0] // 2, 0, *size)), (size[0] // 2, 0))
    ImageDraw.Draw(left).line([(size[0] // 2, 0), (size[0] // 2, size[1])], fill="white", width=max(2, size[0] // 250))
    return left


def letters(size: int, family="DejaVu Sans", weight="normal"): return ImageFont.truetype(font_manager.findfont(font_manager.FontProperties(family=family, weight=weight)), size)


def words(size: tuple, lines: list) -> Image.Image:
    "Eight short lines, for pages without a figure."
    picture = Image.new("RGB", size, PAPER)
    ImageDraw.Draw(picture).multiline_text((28, 18), "\n".join(lines), fill=INK, font=letters(20, "DejaVu Sans Mono"), spacing=6)
    return picture


def shared() -> Image.Image:
    "What a shared link shows, 1200 x 630: the effect, and what it is."
    picture = Image.new("RGB", (1200, 630), INK)
    picture.paste(before_after("astronaut", (0.035, 0.09, 0.835, 0.41), (1200, 480)))
    draw = ImageDraw.Draw(picture)
    for text, x, anchor in (("bicubic", 24, "ls"), ("SRGAN", 1176, "rs")): draw.text((x, 460), text, fill="white", font=letters(30), anchor=anchor, stroke_width=3, stroke_fill="black")
    draw.text((40, 555), "srgan_nb", fill="white", font=letters(56, weight="bold"), anchor="lm")
    draw.text((1160, 555), "the paper, the tests, the docs and the\nlibrary, in notebooks you can run", fill=PAPER, font=letters(27), anchor="rm", align="right")
    return picture


def main():
    size, images = (400, 250), ROOT / "nbs/images"
    cards = {name.split("/")[-1]: ImageOps.fit(_part(figure(name, label), box), size, Image.LANCZOS) for name, (label, box) in FIGURES.items()}
    cards |= {"gallery": before_after("chelsea", (0.22, 0.13, 0.62, 0.6), size), "try": before_after("motorcycle", (0.25, 0.3, 0.65, 0.85), size)} # a keyword cannot be an argument
    cards |= dict(reference=words(size, ["to_signed", "to_8bit", "open_photo", "photo_to_tensor", "degrade", "psnr", "grid_strength", "halo"]),
        compatibility=words(size, ["Linux       tried", "torchrun    tried", "ONNX        tried", "pipes       tried", "DIV2K       written", "two GPUs    written", "Windows     written", "Colab       written"]))
    (images / "cards").mkdir(exist_ok=True)
    for name, card in cards.items(): card.save(images / f"cards/{name}.webp", quality=72, method=6)
    shared().save(images / "card.jpg", quality=86)


if __name__ == "__main__": main()
