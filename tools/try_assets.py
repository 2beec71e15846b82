"""Add to a built site what its page `try` needs: the shipped networks as ONNX, ONNX Runtime Web, and the samples.

    python tools/try_assets.py SITE [--modules DIR | --no-runtime]
    python tools/try_assets.py --package

SITE is the output folder, from Quarto or from the preview. ONNX Runtime Web is copied from DIR, a `node_modules`
folder with the pinned version; the default for DIR is SRGAN_NODE_MODULES. Without either, `npm install` downloads
it. The files become part of the site only, not of the repository or the package.

The page promises that nothing leaves the reader's machine, so imports from other sites, such as a theme's fonts, are
removed from all stylesheets. (Our styles use the machine's fonts.) --package prints what npm has to install.
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

RUNTIME, VERSION = "onnxruntime-web", "1.30.0" # the only place that names the version
FILES = [
    # for every browser
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    # for browsers with WebGPU
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
]
SAMPLES = ("coffee", "motorcycle", "astronaut", "rocket")
LICENCE = """{name} {version}, copied unchanged from its npm package. Copyright (c) Microsoft Corporation.

MIT License

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def has_runtime(modules: Path) -> bool:
    "Whether a `node_modules` folder holds the pinned version."
    about = modules / RUNTIME / "package.json"
    return about.is_file() and json.loads(about.read_text(encoding="utf-8"))["version"] == VERSION


def put_runtime(modules: Path, folder: Path) -> None:
    "Copy the runtime from a `node_modules` folder."
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES: shutil.copyfile(modules / RUNTIME / "dist" / name, folder / name)
    (folder / "LICENCE.txt").write_text(LICENCE.format(name=RUNTIME, version=VERSION), encoding="utf-8")


def put_installed_runtime(folder: Path) -> None:
    "Install the runtime from npm's registry, then copy it."
    with tempfile.TemporaryDirectory() as temporary:
        command = ["npm", "install", "--silent", "--prefix", temporary, f"{RUNTIME}@{VERSION}"]
        subprocess.run(command, check=True)
        put_runtime(Path(temporary) / "node_modules", folder)


def boundary(network: Path) -> tuple[str, str, str]:
    "Three tensors' names: an exported generator's input, its first sub-pixel convolution's input, and its output."
    import onnx
    graph = onnx.load(network).graph
    shapes = {weight.name: list(weight.dims) for weight in graph.initializer}
    for node in graph.node:
        if node.op_type != "Conv": continue
        out_channels, in_channels, *_ = shapes[node.input[1]]
        if out_channels == 4 * in_channels: return graph.input[0].name, node.input[0], graph.output[0].name
    raise ValueError(f"{network}: no sub-pixel convolution in it")


def put_network(name: str, folder: Path) -> None:
    """Export a bundled generator as two ONNX files.

    So the browser can work as `Upscaler` does: compute the features in large tiles, then render the picture in strips.
    """
    from onnx.utils import extract_model

    from srgan_nb import Generator
    from srgan_nb.export import export_onnx
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        whole = str(Path(temporary) / f"{name}.onnx")
        export_onnx(Generator.from_pretrained(name), whole)
        lr, middle, sr = boundary(whole) # cut in the middle
        extract_model(whole, str(folder / f"{name}-features.onnx"), [lr], [middle])
        extract_model(whole, str(folder / f"{name}-render.onnx"), [middle], [sr])


def put_samples(folder: Path) -> None:
    "Packaged photographs, shrunk by 4."
    from srgan_nb.data import crop_to_multiple, degrade, sample_photos
    from srgan_nb.utils import photo_to_tensor, tensor_to_photo
    folder.mkdir(parents=True, exist_ok=True)
    photos = sample_photos()
    for name in SAMPLES:
        hr = crop_to_multiple(photo_to_tensor(photos[name]))
        tensor_to_photo(degrade(hr[None])[0]).save(folder / f"{name}.png")


def remove_remote_imports(site: Path) -> None:
    "Delete imports from other sites from all stylesheets."
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        local = re.sub(r"""@import\s*(?:url\()?["']?https?://[^"')]+["']?\)?\s*;""", "", text)
        if local != text: sheet.write_text(local, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path, nargs="?")
    parser.add_argument("--package", action="store_true")
    parser.add_argument("--no-runtime", action="store_true")
    parser.add_argument("--modules", type=Path, default=os.environ.get("SRGAN_NODE_MODULES") or None)
    args = parser.parse_args()
    if args.package:
        print(f"{RUNTIME}@{VERSION}")
        return
    if not args.site or not args.site.is_dir(): sys.exit(f"{args.site}: no such folder; build the site first")
    assets = args.site / "try"
    if not args.no_runtime:
        if args.modules and has_runtime(args.modules): put_runtime(args.modules, assets / "ort")
        else: put_installed_runtime(assets / "ort")
    for name in ("photo", "srgan", "srresnet"): put_network(name, assets / "models")
    put_samples(assets / "samples")
    remove_remote_imports(args.site)
    size = sum(path.stat().st_size for path in assets.rglob("*") if path.is_file())
    print(f"{assets}: {size / 1e6:.0f} MB")


if __name__ == "__main__": main()
