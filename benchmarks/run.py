"""Measure training, data, inference, memory and start-up beside a textbook implementation, in one run on one machine.

    python benchmarks/run.py [--only NAME ...] [--rounds N] [--threads N] [-o FILE]

Each variant lives in a process of its own, and they take turns: textbook, float32, auto, textbook, ... so that whatever
else the machine does hits all of them alike. Ratios are medians of the ratios within a turn. FILE (JSON) is what
nbs/performance.ipynb draws. On a GPU the same table is measured there, textbook included. `--only large` upscales
photographs of 2K and 4K and takes some minutes.
"""
import argparse
import importlib
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

VARIANTS = ("textbook", "fp32", "auto") # the last two are this package, with that `--precision`


def ours_step(stage: str, batch: int, precision: str, *without: str):
    "One update as `srgan train` does it, with the paper's configuration; `drawn` and `returned` leave out what makes it fast."
    import torch
    from srgan_nb import training
    from srgan_nb.vgg import VGGFeatures
    accelerator = training.make_accelerator("auto", precision)
    if "returned" not in without: training.keep_freed_memory()
    if "drawn" in without: from textbook import DrawnGenerator; training.Generator = DrawnGenerator
    config = replace(training.PAPER, batch=batch)
    vgg = VGGFeatures(5, 4, weights=None).to(accelerator.device, memory_format=torch.channels_last)
    state = training.new_state(config, stage, 0, accelerator.device)
    step = training.make_step(training.Run(config, Path("unused"), None, 0, accelerator, vgg, "compiled" in without), state)
    lr, hr = (x.to(accelerator.device, memory_format=torch.channels_last) for x in (torch.rand(batch, 3, 24, 24), torch.rand(batch, 3, 96, 96) * 2 - 1))
    def run():
        step(lr, hr)
        training.update_ema(state.ema, state.g, config.ema, 1)
    return run


def ours_upscale(side: int, precision: str, *how: str):
    import torch
    from srgan_nb import Generator, Upscaler, inference
    if "whole" in how: inference.STRIP = 10**9
    upscaler, lr = Upscaler(Generator(), precision=precision, compile="compiled" in how), torch.rand(1, 3, side, side)
    return lambda: upscaler.upscale(lr)


def ours_pairs(paths: list, batch: int, with_lr: bool):
    from srgan_nb.data import PhotoStore, crop_batch, make_pair
    store, step = PhotoStore(paths), iter(range(10**9))
    if with_lr: return lambda: make_pair(crop_batch(store, batch, 0, next(step)))
    return lambda: crop_batch(store, batch, 0, next(step))


def make(case: str, variant: str, argument):
    "The function to be timed."
    import textbook
    precision, *how = variant.split()
    if case == "data": return textbook.pairs(argument, 16) if variant == "textbook" else ours_pairs(argument, 16, variant == "pairs")
    if case == "upscale": return textbook.upscale(argument) if variant == "textbook" else ours_upscale(argument, precision, *how)
    return getattr(textbook, f"{case}_step")(argument) if variant == "textbook" else ours_step(case, argument, precision, *how)


def gigaflop(run) -> float:
    "What the convolutions and matrix products of one call need, by PyTorch's own counter."
    from torch.utils.flop_counter import FlopCounterMode
    with FlopCounterMode(display=False) as counter: run()
    return counter.get_total_flops() / 1e9


def peak_mib() -> int:
    "The most memory this process has held. (getrusage would begin with what its parent held.)"
    status = Path("/proc/self/status")
    if status.is_file(): return int(status.read_text(encoding="utf-8").split("VmHWM:")[1].split()[0]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**20 if sys.platform == "darwin" else 2**10)


def warm_up(run):
    "Call `run` until it is at its pace: on a GPU a step is played back from its fourth call on. Gives what waits for the device."
    import torch
    on_gpu = torch.cuda.is_available()
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    for _ in range(5 if on_gpu else 1): run()
    wait()
    return wait


def worker(pipe, threads: int, case: str, variant: str, argument) -> None:
    "Build one variant, then time one call whenever asked; None ends it."
    import torch
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if variant == "textbook" and case != "data" and torch.cuda.is_available(): torch.set_default_device("cuda") # it names no device
    if case == "rate": run = matrix_product(variant); work = None
    else:
        run = make(case, variant, argument)
        work = None if case == "data" or "compiled" in variant else gigaflop(run)
    wait = warm_up(run)
    pipe.send(work)
    while (calls := pipe.recv()) is not None:
        start = time.perf_counter()
        for _ in range(calls): run()
        wait(); pipe.send((time.perf_counter() - start) / calls)
    pipe.send(peak_mib())


def matrix_product(kind: str, side: int = 2048):
    "Two ways to the matrix rate of the machine: a product of two squares, and a large convolution."
    import torch
    device, dtype = "cuda" if torch.cuda.is_available() else "cpu", dict(fp32=torch.float32, bf16=torch.bfloat16)[kind.split()[0]]
    new = lambda *shape: torch.rand(*shape, device=device, dtype=dtype)
    if kind.endswith("product"): a, b, c = new(side, side), new(side, side), new(side, side); return lambda: torch.mm(a, b, out=c)
    channels = side // 8
    maps, kernel = (x.to(memory_format=torch.channels_last) for x in (new(16, channels, 32, 32), new(channels, channels, 3, 3)))
    return lambda: torch.conv2d(maps, kernel, padding=1)


def in_turns(case: str, variants: tuple, argument, rounds: int, threads: int, calls: int = 1) -> dict:
    "variant -> (seconds of each round, gigaflop, peak MiB)."
    spawn, workers = multiprocessing.get_context("spawn"), {}
    for variant in variants:
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=worker, args=(theirs, threads, case, variant, argument), daemon=True) # ends with us, also where another one died
        process.start(); theirs.close() # or recv would wait for ever for a worker that died
        workers[variant] = ours, process
    workers = {variant: (*pair, pair[0].recv()) for variant, pair in workers.items()} # all warm up at once, and all are warm before the first round
    times = {variant: [] for variant in variants}
    for _ in range(rounds):
        for variant, (pipe, *_) in workers.items(): pipe.send(calls); times[variant].append(pipe.recv())
    found = {}
    for variant, (pipe, process, work) in workers.items():
        pipe.send(None); found[variant] = times[variant], work, pipe.recv(); process.join()
    return found


def rows_of(group: str, case: str, found: dict, rates: dict | None = None, per: int = 1) -> list:
    "What is kept of one comparison: medians, spread, ratio to the textbook, and the bound where the work is known."
    rows, (first, *_) = [], found.values()
    for variant, (seconds, work, peak) in found.items():
        row = dict(group=group, case=case, variant=variant, median=statistics.median(seconds) / per, low=min(seconds) / per, high=max(seconds) / per,
            ratio=statistics.median(a / b for a, b in zip(seconds, first[0])), peak_mib=peak)
        if work and rates: row |= dict(gigaflop=round(work, 1), bound=work / rates["fp32" if variant.split()[0] in ("textbook", "fp32") else "bf16"])
        rows.append(row)
    return rows


def measure_training(rounds, threads, rates):
    for stage in ("srresnet", "srgan"):
        for batch in (4, 16): yield from rows_of("training", f"{stage}, batch {batch}", in_turns(stage, VARIANTS, batch, rounds, threads), rates)


def measure_inference(rounds, threads, rates):
    for side in (128, 256, 512): yield from rows_of("inference", f"{side} x {side}", in_turns("upscale", VARIANTS, side, rounds, threads), rates)


def measure_parts(rounds, threads, rates):
    "What each part brings: without the tail's trick (`drawn`), with memory returned to the system (`returned`), without strips (`whole`)."
    steps = ("textbook", *(f"{precision}{how}" for precision in ("fp32", "auto") for how in (" drawn returned", " returned", "")))
    yield from rows_of("parts", "srresnet, batch 16", in_turns("srresnet", steps, 16, rounds, threads))
    yield from rows_of("parts", "256 x 256", in_turns("upscale", ("textbook", "fp32 whole", "fp32", "auto whole", "auto"), 256, rounds, threads))


def measure_compile(rounds, threads, rates):
    "`--compile`, beside the same without it."
    for case, argument, name in (("srresnet", 16, "srresnet, batch 16"), ("upscale", 256, "256 x 256")):
        yield from rows_of("compile", name, in_turns(case, ("auto", "auto compiled", "fp32", "fp32 compiled"), argument, rounds, threads))


def write_photos(folder: Path, count: int, size: tuple, suffix: str) -> list:
    "The packaged photographs, resized; a little noise, so that files are as hard to decode as photographs."
    import numpy as np
    from PIL import Image
    from srgan_nb.data import sample_photos
    rng, sources, paths = np.random.default_rng(0), list(sample_photos().values()), []
    for k in range(count):
        pixels = np.asarray(sources[k % len(sources)].resize(size, Image.BICUBIC)).astype(int)
        paths.append(folder / f"{k:03}{suffix}")
        Image.fromarray((pixels + rng.integers(-2, 3, pixels.shape)).clip(0, 255).astype(np.uint8)).save(paths[-1])
    return paths


def measure_data(rounds, threads, rates):
    "Seconds a crop of 96 pixels, on one thread. `crops` cuts HR, `pairs` makes LR as well, as the textbook does."
    from srgan_nb.data import PhotoStore
    for name, count, size, suffix in (("small JPEGs, 178 x 218", 200, (178, 218), ".jpg"), ("2K PNGs, 2040 x 1356", 10, (2040, 1356), ".png")):
        with tempfile.TemporaryDirectory() as folder:
            paths = write_photos(Path(folder), count, size, suffix)
            yield from rows_of("data", name, in_turns("data", ("textbook", "pairs", "crops"), paths, rounds, 1, calls=5), per=16)
            for label, options in (("first pass, to memory", {}), ("first pass, to disk", dict(cache=f"{folder}/cache")), ("later passes, from disk", dict(cache=f"{folder}/cache"))):
                start = time.perf_counter(); PhotoStore(paths, **options)
                yield dict(group="decoding", case=name, variant=label, median=(time.perf_counter() - start) / count)
    yield from waiting_share(threads)


def waiting_share(threads):
    "How much of a training step goes into drawing crops before the device has work."
    import torch
    from srgan_nb.data import PhotoStore, crop_batch, sample_photos
    torch.set_num_threads(threads)
    store, run = PhotoStore(sample_photos()), ours_step("srresnet", 16, "auto")
    wait = warm_up(run)
    drawing = whole = 0.
    for step in range(10):
        start = time.perf_counter(); crop_batch(store, 16, 0, step)
        drawn = time.perf_counter(); run(); wait()
        drawing, whole = drawing + drawn - start, whole + time.perf_counter() - start
    yield dict(group="waiting", case="srresnet, batch 16", variant="auto", share=drawing / whole)


def measure_startup(rounds, threads, rates):
    programs = {"import torch, torchvision": "import torch, torchvision", "from srgan_nb import Upscaler": "from srgan_nb import Upscaler", "import srgan_nb": "import srgan_nb",
        "srgan --help": "import sys; sys.argv = ['srgan', '--help']; from srgan_nb.cli import app; app()"}
    found = {name: ([], None, 0) for name in programs}
    for _ in range(rounds + 1):
        for name, program in programs.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
            found[name][0].append(time.perf_counter() - start)
    for seconds, *_ in found.values(): del seconds[0] # the first reads from disk
    for row in rows_of("start-up", "", found): yield {key: value for key, value in row.items() if key != "peak_mib"}


def measure_large(rounds, threads, rates):
    "A 2K and a 4K photograph from file to PNG: seconds and peak memory of the whole command."
    with tempfile.TemporaryDirectory() as folder:
        for size in ((2048, 1365), (4096, 2730)):
            (photo,) = write_photos(Path(folder), 1, size, ".png")
            command = ["srgan", "upscale", str(photo), "-o", f"{folder}/large.png", "--overwrite"]
            program = f"import sys; sys.argv = {command!r}; from srgan_nb.cli import app; app(standalone_mode=False); sys.path.insert(0, {str(Path(__file__).parent)!r}); from run import peak_mib; print(peak_mib())"
            start = time.perf_counter()
            said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=os.environ | dict(OMP_NUM_THREADS=str(threads))).stdout
            yield dict(group="large", case=f"{size[0]} x {size[1]} to PNG", variant="auto", median=time.perf_counter() - start, peak_mib=int(said.split()[-1]), megabytes=round(os.path.getsize(f"{folder}/large.png") / 1e6))


MEASURES = dict(training=measure_training, inference=measure_inference, parts=measure_parts, compile=measure_compile, data=measure_data, startup=measure_startup, large=measure_large)


def machine(threads: int) -> dict:
    "What the figures depend on."
    import torch
    versions = {name: importlib.import_module(name).__version__ for name in ("torch", "torchvision", "srgan_nb")}
    from srgan_nb.utils import cpu_name, gains_by_bf16, pick_device
    device = pick_device("auto")
    return dict(cpu=cpu_name(), cores=os.cpu_count(), threads=threads, device=torch.cuda.get_device_name() if device.type == "cuda" else "cpu", auto="bf16" if gains_by_bf16(device) else "fp32",
        system=platform.platform(terse=True), python=platform.python_version(), versions=versions, date=time.strftime("%Y-%m-%d"))


def matrix_rates(rounds: int, threads: int) -> dict:
    "Gigaflop a second of a large matrix product or convolution, whichever is faster, at its fastest."
    found = in_turns("rate", ("fp32 product", "bf16 product", "fp32 convolution", "bf16 convolution"), None, rounds, threads, calls=3)
    work = dict(product=2 * 2048**3, convolution=2 * 9 * 256**2 * 16 * 32**2)
    rates = {kind: work[kind.split()[1]] / 1e9 / min(seconds) for kind, (seconds, *_) in found.items()}
    return {kind: max(rate for name, rate in rates.items() if name.startswith(kind)) for kind in ("fp32", "bf16")}


def line_of(row: dict) -> str:
    unit, size = next(((name, scale) for name, scale in (("s ", 1), ("ms", 1e3), ("us", 1e6)) if row.get("median", 1) * scale >= 1), ("us", 1e6))
    spread = f"{row['low'] * size:.3g}-{row['high'] * size:.3g}" if "low" in row else ""
    parts = [f"{row['group']:10} {row['case']:24} {row['variant']:30}", f"{row['median'] * size:8.3g} {unit} {spread:13}" if "median" in row else f"{row['share']:8.1%} of a step"]
    if "ratio" in row: parts.append(f"{row['ratio']:5.2f}x")
    if row.get("peak_mib"): parts.append(f"{row['peak_mib']:6} MiB")
    if "bound" in row: parts.append(f"bound {row['bound']:.3g} s")
    return " ".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES)); parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count()); parser.add_argument("-o", "--out", type=Path, help="where the JSON goes")
    o = parser.parse_args()
    if o.out and not o.out.parent.is_dir(): parser.error(f"{o.out.parent}: no such folder") # known before the minutes it takes
    about, rates, rows = machine(o.threads), matrix_rates(o.rounds, o.threads), []
    print(json.dumps(about | dict(gigaflop_a_second={kind: round(rate) for kind, rate in rates.items()})))
    for name in o.only:
        for row in MEASURES[name](o.rounds, o.threads, rates): rows.append(row); print(line_of(row), flush=True)
    if o.out: o.out.write_text(json.dumps(dict(machine=about, gigaflop_a_second=rates, rounds=o.rounds, rows=rows), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__": main()
