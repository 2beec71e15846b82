"""Make the small pictures: a card for each chapter, cut from its own figures, and the preview of a shared link.

    python tools/cards.py

They go to nbs/images. Run this again when the shipped weights, or a figure it uses, have changed.
"""
import base64
import io
import json
from pathlib import Path

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont, ImageOps

from srgan_nb import Upscaler
from srgan_nb.data import crop_to_multiple, degrade, sample_photos
from srgan_nb.utils import enlarge, photo_to_tensor, tensor_to_photo

ROOT = Path(__file__).parent.parent
SIZE = (400, 250) # of a card, pixels
INK, PAPER = "#17405c", "#e9f2f7" # the site's navigation bar, and the light colour of its favicon
FIGURES = { # notebook -> a figure's label, and the part to cut out: left, top, right, bottom as fractions
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
    "11_inference": ("fig-upscale", (0.26, 0.17, 0.74, 0.93)),
    "14_cli": ("fig-demo", (0.605, 0.12, 0.795, 0.95)),
    "15_convert": ("fig-theirs", (0.40, 0.12, 0.80, 0.95)),
    "16_photographs": ("fig-spoiled", (0.335, 0.335, 0.995, 0.66)),
    "results": ("fig-wins", (0.61, 0.17, 0.99, 0.97)),
    "ablation": ("fig-ways", (0.4, 0.33, 0.98, 0.875)),
    "performance": ("fig-inference-speed", (0, 0, 0.7, 1)),
    "robustness": ("fig-memory", (0.35, 0.02, 0.99, 0.85)),
}
LISTS = { # for chapters without a figure of their own: eight lines of text
    "08_checkpoints": ["generator.safetensors", "checkpoint-srgan-1000", "atomic_path", "load_generator",
        "g  ema  d", "g_opt  d_opt", "step 1000", "the same bits"],
    "09_speed": ["cpu  cuda  mps", "fp32  bf16", "TailConv", "CudaGraphStep",
        "open_cache", "move_to_device", "the same", "numbers, sooner"],
    "10_runs": ["run/", "  train.json", "  metrics.jsonl", "  samples/",
        "  generator.safetensors", "Ctrl-C", "--resume", "train(...)"],
    "12_files": [".jpg", ".png   streamed", ".webp", ".tif",
        ".mp4   with sound", ".webm", ".onnx", "whole or absent"],
    "13_evaluation": ["Set5      PSNR  SSIM", "baby", "bird", "butterfly",
        "head", "woman", "", "mean of 5"],
}
REFERENCE = [
    "to_signed", "to_8bit", "open_photo", "photo_to_tensor",
    "degrade", "psnr", "grid_strength", "halo",
]
COMPATIBILITY = [
    "Linux       tried", "torchrun    tried", "ONNX        tried", "pipes       tried",
    "DIV2K       written", "two GPUs    written", "Windows     written", "Colab       written",
]
HELP = [
    "Why is my PSNR low?", "What are these grids?", "Where do colours go?", "D wins. Now what?",
    "Out of memory?", "x2, or x8?", "My own photos?", "Is it true?",
]


def figure(name: str, label: str) -> Image.Image:
    "The saved output of the notebook cell with this label."
    cells = json.loads((ROOT / f"nbs/{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    cell = next(cell for cell in cells if f"#| label: {label}\n" in cell["source"])
    data = next(output["data"] for output in cell["outputs"] if "data" in output)
    png_or_jpeg = base64.b64decode(data.get("image/png") or data["image/jpeg"])
    return Image.open(io.BytesIO(png_or_jpeg)).convert("RGB")


def cut(picture: Image.Image, box: tuple, size: tuple) -> Image.Image:
    "The part of a picture inside `box` (left, top, right, bottom as fractions), scaled and trimmed to `size`."
    corners = [round(fraction * side) for fraction, side in zip(box, picture.size * 2)]
    return ImageOps.fit(picture.crop(corners), size, Image.LANCZOS)


def before_after(name: str, box: tuple, size: tuple) -> Image.Image:
    "Part of a packaged photograph, shrunk by 4 and enlarged again: left half by bicubic interpolation, right by SRGAN."
    hr = crop_to_multiple(photo_to_tensor(sample_photos()[name]))
    lr = degrade(hr[None])
    upscaler = Upscaler.from_pretrained("srgan", device="cpu", precision="fp32")
    picture, srgan = (cut(tensor_to_photo(x[0]), box, size) for x in (enlarge(lr), upscaler.upscale(lr)))
    width, height = size
    middle = width // 2
    picture.paste(srgan.crop((middle, 0, width, height)), (middle, 0))
    line = [(middle, 0), (middle, height)]
    ImageDraw.Draw(picture).line(line, fill="white", width=max(2, width // 250))
    return picture


def font(size: int, family="DejaVu Sans", weight="normal"):
    properties = font_manager.FontProperties(family=family, weight=weight)
    return ImageFont.truetype(font_manager.findfont(properties), size)


def text_card(lines: list) -> Image.Image:
    "Eight short lines, for pages without a figure."
    picture = Image.new("RGB", SIZE, PAPER)
    mono = font(20, "DejaVu Sans Mono")
    ImageDraw.Draw(picture).multiline_text((28, 18), "\n".join(lines), fill=INK, font=mono, spacing=6)
    return picture


def link_picture() -> Image.Image:
    "The preview of a shared link, 1200 x 630: SRGAN's effect, and what the project is."
    picture = Image.new("RGB", (1200, 630), INK)
    picture.paste(before_after("astronaut", (0.035, 0.09, 0.835, 0.41), (1200, 480)))
    draw = ImageDraw.Draw(picture)
    outlined = dict(fill="white", font=font(30), stroke_width=3, stroke_fill="black")
    draw.text((24, 460), "bicubic", anchor="ls", **outlined)
    draw.text((1176, 460), "SRGAN", anchor="rs", **outlined)
    draw.text((40, 555), "srgan_nb", fill="white", font=font(56, weight="bold"), anchor="lm")
    slogan = "the paper, the tests, the docs and the\nlibrary, in notebooks you can run"
    draw.text((1160, 555), slogan, fill=PAPER, font=font(27), anchor="rm", align="right")
    return picture


def main():
    images = ROOT / "nbs/images"
    cards = {name.split("/")[-1]: cut(figure(name, label), box, SIZE) for name, (label, box) in FIGURES.items()}
    cards["gallery"] = before_after("chelsea", (0.22, 0.13, 0.62, 0.6), SIZE)
    cards["try"] = before_after("motorcycle", (0.25, 0.3, 0.65, 0.85), SIZE)
    cards |= {name: text_card(lines) for name, lines in LISTS.items()}
    cards["reference"] = text_card(REFERENCE)
    cards["help"] = text_card(HELP)
    cards["compatibility"] = text_card(COMPATIBILITY)
    (images / "cards").mkdir(exist_ok=True)
    for name, card in cards.items(): card.save(images / f"cards/{name}.webp", quality=72, method=6)
    link_picture().save(images / "card.jpg", quality=86)


if __name__ == "__main__": main()
