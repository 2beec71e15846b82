"""Put what the page `try` computes with into a built site: the shipped networks as ONNX, ONNX Runtime Web, and the samples.

    python tools/try_assets.py SITE [--modules DIR | --no-runtime]
    python tools/try_assets.py --package

SITE is the output folder, from Quarto or from the preview. ONNX Runtime Web is copied from DIR, a `node_modules` folder that
holds the pinned version (SRGAN_NODE_MODULES names it where --modules does not), or else from what `npm install` brings.
The files are part of the site, of nothing else. Fonts that a theme would load from elsewhere are taken out of the site's
stylesheets: the page promises that nothing leaves the reader's machine, and our styles use its own fonts. --package prints
what npm has to install.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

RUNTIME, VERSION = "onnxruntime-web", "1.30.0" # the one place that says which
FILES = ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm", # for every browser
    "ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"] # for those with WebGPU
SAMPLES = ("coffee", "motorcycle", "astronaut", "rocket")
LICENCE = """{name} {version}, copied unchanged from its npm package. Copyright (c) Microsoft Corporation.

MIT License

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation
files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy,
modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def has_runtime(modules: Path) -> bool:
    "Whether a folder of npm's holds the pinned version."
    about = modules / RUNTIME / "package.json"
    return about.is_file() and json.loads(about.read_text(encoding="utf-8"))["version"] == VERSION


def put_runtime(modules: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES: shutil.copyfile(modules / RUNTIME / "dist" / name, folder / name)
    (folder / "LICENCE.txt").write_text(LICENCE.format(name=RUNTIME, version=VERSION), encoding="utf-8")


def put_installed_runtime(folder: Path) -> None:
    "The same, from the registry."
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(["npm", "install", "--silent", "--prefix", place, f"{RUNTIME}@{VERSION}"], check=True)
        put_runtime(Path(place) / "node_modules", folder)


def cut(whole: Path) -> tuple:
    "The tensor between the two halves of an exported generator: what its first sub-pixel step takes; and the names of input and output."
    import onnx
    graph = onnx.load(whole).graph
    shapes = {weight.name: list(weight.dims) for weight in graph.initializer}
    step = next(node for node in graph.node if node.op_type == "Conv" and shapes[node.input[1]][0] == 4 * shapes[node.input[1]][1])
    return step.input[0], graph.input[0].name, graph.output[0].name


def put_network(name: str, folder: Path) -> None:
    "A bundled generator as two ONNX files, so that the browser can do as `Upscaler` does: features in large tiles, the picture in strips."
    from onnx.utils import extract_model
    from srgan_nb import Generator
    from srgan_nb.inference import export_onnx
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place) / f"{name}.onnx"
        export_onnx(Generator.from_pretrained(name), whole)
        middle, lr, sr = cut(whole)
        for half, ends in dict(features=(lr, middle), render=(middle, sr)).items():
            extract_model(str(whole), str(folder / f"{name}-{half}.onnx"), *([end] for end in ends))


def put_samples(folder: Path) -> None:
    "Packaged photographs, four times smaller."
    from srgan_nb.data import crop_to_multiple, degrade, sample_photos
    from srgan_nb.utils import photo_to_tensor, tensor_to_photo
    folder.mkdir(parents=True, exist_ok=True)
    photos = sample_photos()
    for name in SAMPLES: tensor_to_photo(degrade(crop_to_multiple(photo_to_tensor(photos[name]))[None])[0]).save(folder / f"{name}.png")


def stay_home(site: Path) -> None:
    "Take imports from elsewhere out of all stylesheets."
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        kept = re.sub(r"""@import\s*(?:url\()?["']?https?://[^"')]+["']?\)?\s*;""", "", text)
        if kept != text: sheet.write_text(kept, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path, nargs="?"); parser.add_argument("--package", action="store_true"); parser.add_argument("--no-runtime", action="store_true")
    parser.add_argument("--modules", type=Path, default=os.environ.get("SRGAN_NODE_MODULES") or None)
    o = parser.parse_args()
    if o.package: print(f"{RUNTIME}@{VERSION}"); return
    if not o.site or not o.site.is_dir(): sys.exit(f"{o.site}: no such folder; build the site first")
    here = o.site / "try"
    if not o.no_runtime: put_runtime(o.modules, here / "ort") if o.modules and has_runtime(Path(o.modules)) else put_installed_runtime(here / "ort")
    for name in ("srgan", "srresnet"): put_network(name, here / "models")
    put_samples(here / "samples")
    stay_home(o.site)
    print(f"{here}: {sum(path.stat().st_size for path in here.rglob('*') if path.is_file()) / 1e6:.0f} MB")


if __name__ == "__main__": main()
