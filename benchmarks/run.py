"""Measure training, data, inference, memory and start-up against a textbook implementation, all on one machine.

    python benchmarks/run.py [--only NAME ...] [--rounds N] [--threads N] [-o FILE]

Each variant has its own process, and they take turns: textbook, float32, auto, textbook, ... So whatever else the
machine is doing affects all of them alike. Ratios are medians of the ratios within a round. nbs/performance.ipynb
draws FILE (JSON). On a GPU everything is measured there, the textbook included. `--only large` upscales photographs
of 2K and 4K and takes some minutes.
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

VARIANTS = ("textbook", "fp32", "auto") # the last two are this package with that `--precision`


def ours_step(stage: str, batch: int, precision: str, *options: str):
    """One update as `srgan train` does it, with the paper's configuration.

    The options `drawn` and `returned` switch off what makes it fast, `compiled` compiles the generator.
    """
    import torch

    from srgan_nb import training
    from srgan_nb.vgg import VGGFeatures
    accelerator = training.make_accelerator("auto", precision)
    device = accelerator.device
    if "returned" not in options: training.keep_freed_memory()
    if "drawn" in options: training.use_fast_tail = lambda network: network
    config = replace(training.PAPER, batch=batch)
    vgg = VGGFeatures(5, 4, weights=None).to(device, memory_format=torch.channels_last)
    state = training.new_state(config, stage, 0, device)
    run_settings = training.Run(config, Path("unused"), None, 0, accelerator, vgg, "compiled" in options)
    _, step = training.make_step(run_settings, state)
    lr = torch.rand(batch, 3, 24, 24).to(device, memory_format=torch.channels_last)
    hr = (torch.rand(batch, 3, 96, 96) * 2 - 1).to(device, memory_format=torch.channels_last)
    def run():
        step(lr, hr)
        training.update_ema(state.ema, state.g, config.ema, 1)
    return run


def ours_upscale(size: int | tuple, precision: str, *options: str):
    """Upscaling a picture of `size` LR pixels: the side of a square, or height and width.

    `whole` switches off the strips, `compiled` compiles the generator.
    """
    import torch

    from srgan_nb import Generator, Upscaler, inference
    if "whole" in options: inference.STRIP_PIXELS = 10**9
    upscaler = Upscaler(Generator(), precision=precision, compile="compiled" in options)
    height, width = size if isinstance(size, tuple) else (size, size)
    lr = torch.rand(1, 3, height, width)
    return lambda: upscaler.upscale(lr)


def ours_pairs(paths: list, batch: int, with_lr: bool):
    "One batch of HR crops, with or without their LR versions."
    from srgan_nb.data import PhotoStore, crop_batch, make_pair
    store, steps = PhotoStore(paths), iter(range(10**9))
    def crops(): return crop_batch(store, batch, 0, next(steps))
    return (lambda: make_pair(crops())) if with_lr else crops


def make(case: str, variant: str, argument):
    "The function to measure."
    import textbook
    is_textbook = variant == "textbook"
    precision, *options = variant.split()
    if case == "data":
        return textbook.pairs(argument, 16) if is_textbook else ours_pairs(argument, 16, variant == "pairs")
    if case == "upscale":
        return textbook.upscale(argument) if is_textbook else ours_upscale(argument, precision, *options)
    if is_textbook: return getattr(textbook, f"{case}_step")(argument)
    return ours_step(case, argument, precision, *options)


def gigaflop(run) -> float:
    "The work of one call's convolutions and matrix products, by PyTorch's own counter."
    from torch.utils.flop_counter import FlopCounterMode
    with FlopCounterMode(display=False) as counter: run()
    return counter.get_total_flops() / 1e9


def peak_mib() -> int:
    "This process's peak memory. (getrusage would start from its parent's.)"
    status = Path("/proc/self/status")
    if status.is_file():
        text = status.read_text(encoding="utf-8")
        return int(text.split("VmHWM:")[1].split()[0]) // 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


def warm_up(run):
    """Call `run` until it has reached full speed; gives a function that waits for the device.

    On a GPU, a training step is replayed as a CUDA graph from its fourth call on.
    """
    import torch
    on_gpu = torch.cuda.is_available()
    def wait():
        if on_gpu: torch.cuda.synchronize()
    for _ in range(5 if on_gpu else 1): run()
    wait()
    return wait


def worker(pipe, threads: int, case: str, variant: str, argument) -> None:
    "Build one variant. Then time as many calls as each message asks for, until None comes."
    import torch
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if variant == "textbook" and case != "data" and torch.cuda.is_available():
        torch.set_default_device("cuda") # the textbook's code names no device
    run = matrix_product(variant) if case == "rate" else make(case, variant, argument)
    is_counted = case not in ("rate", "data") and "compiled" not in variant
    work = gigaflop(run) if is_counted else None
    wait = warm_up(run)
    pipe.send(work)
    while (calls := pipe.recv()) is not None:
        start = time.perf_counter()
        for _ in range(calls): run()
        wait()
        pipe.send((time.perf_counter() - start) / calls)
    pipe.send(peak_mib())


def matrix_product(kind: str, side: int = 2048):
    "Two ways to measure the machine's matrix rate: a product of two square matrices, and a large convolution."
    import torch
    precision, operation = kind.split()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = dict(fp32=torch.float32, bf16=torch.bfloat16)[precision]
    def new(*shape): return torch.rand(*shape, device=device, dtype=dtype)
    if operation == "product":
        a, b, c = new(side, side), new(side, side), new(side, side)
        return lambda: torch.mm(a, b, out=c)
    channels = side // 8
    maps = new(16, channels, 32, 32).to(memory_format=torch.channels_last)
    kernel = new(channels, channels, 3, 3).to(memory_format=torch.channels_last)
    return lambda: torch.conv2d(maps, kernel, padding=1)


def in_turns(case: str, variants: tuple, argument, rounds: int, threads: int, calls: int = 1) -> dict:
    "Measure variants in turns: variant -> (seconds of each round, gigaflop, peak MiB)."
    spawn = multiprocessing.get_context("spawn")
    pipes, processes = {}, {}
    for variant in variants:
        pipes[variant], remote = spawn.Pipe()
        arguments = (remote, threads, case, variant, argument)
        process = spawn.Process(target=worker, args=arguments, daemon=True) # ends with us, even if another worker died
        process.start()
        remote.close() # otherwise recv would wait forever for a worker that died
        processes[variant] = process
    # All workers warm up at the same time, and all are warm before the first round.
    work = {variant: pipe.recv() for variant, pipe in pipes.items()}
    times = {variant: [] for variant in variants}
    for _ in range(rounds):
        for variant, pipe in pipes.items():
            pipe.send(calls)
            times[variant].append(pipe.recv())
    results = {}
    for variant, pipe in pipes.items():
        pipe.send(None)
        results[variant] = times[variant], work[variant], pipe.recv()
        processes[variant].join()
    return results


def rows_of(group: str, case: str, results: dict, rates: dict | None = None, per: int = 1) -> list:
    "The rows of one comparison: median, spread, ratio to the first variant, and the lower bound if the work is known."
    rows, (baseline, *_) = [], next(iter(results.values()))
    for variant, (seconds, work, peak) in results.items():
        row = dict(
            group=group,
            case=case,
            variant=variant,
            median=statistics.median(seconds) / per,
            low=min(seconds) / per,
            high=max(seconds) / per,
            ratio=statistics.median(ours / theirs for ours, theirs in zip(seconds, baseline)),
            peak_mib=peak,
        )
        if work and rates:
            is_bf16 = variant.split()[0] == "auto" and "bf16" in rates
            row |= dict(gigaflop=round(work, 1), bound=work / rates["bf16" if is_bf16 else "fp32"])
        rows.append(row)
    return rows


def measure_training(rounds, threads, rates):
    for stage in ("srresnet", "srgan"):
        for batch in (4, 16):
            results = in_turns(stage, VARIANTS, batch, rounds, threads)
            yield from rows_of("training", f"{stage}, batch {batch}", results, rates)


def measure_inference(rounds, threads, rates):
    for side in (128, 256, 512):
        results = in_turns("upscale", VARIANTS, side, rounds, threads)
        yield from rows_of("inference", f"{side} x {side}", results, rates)


def measure_sizes(rounds, threads, rates):
    "Ours at sizes for which the textbook has no memory, with the operations that a single pass needs."
    for height, width in ((512, 512), (1024, 1024), (1365, 2048), (2730, 4096)):
        results = in_turns("upscale", ("auto",), (height, width), 1, threads)
        for row in rows_of("sizes", f"{width} x {height}", results, rates):
            yield row | dict(needed=round(needed_gigaflop(height, width), 1))


def needed_gigaflop(height: int, width: int) -> float:
    "The operations of one pass through Fig. 4, counted on tensors without contents."
    import torch

    from srgan_nb import Generator
    from srgan_nb.fast_tail import use_fast_tail
    with torch.device("meta"): network, lr = use_fast_tail(Generator().eval()), torch.rand(1, 3, height, width)
    return gigaflop(lambda: network(lr))


def measure_parts(rounds, threads, rates):
    """The gain from each part, measured without it.

    `drawn`: without the faster last layers; `returned`: freed memory goes back to the system; `whole`: without strips.
    """
    steps = (
        "textbook",
        "fp32 drawn returned", "fp32 returned", "fp32",
        "auto drawn returned", "auto returned", "auto",
    )
    upscalers = ("textbook", "fp32 whole", "fp32", "auto whole", "auto")
    yield from rows_of("parts", "srresnet, batch 16", in_turns("srresnet", steps, 16, rounds, threads))
    yield from rows_of("parts", "256 x 256", in_turns("upscale", upscalers, 256, rounds, threads))


def measure_compile(rounds, threads, rates):
    "`--compile` against the same without it."
    variants = ("auto", "auto compiled", "fp32", "fp32 compiled")
    for case, argument, name in (("srresnet", 16, "srresnet, batch 16"), ("upscale", 256, "256 x 256")):
        yield from rows_of("compile", name, in_turns(case, variants, argument, rounds, threads))


def write_photos(folder: Path, count: int, size: tuple, suffix: str) -> list:
    "The packaged photographs, resized. A little noise makes the files as hard to decode as real photographs."
    import numpy as np
    from PIL import Image

    from srgan_nb.data import sample_photos
    rng, sources, paths = np.random.default_rng(0), list(sample_photos().values()), []
    for k in range(count):
        pixels = np.asarray(sources[k % len(sources)].resize(size, Image.BICUBIC)).astype(int)
        pixels = pixels + rng.integers(-2, 3, pixels.shape)
        paths.append(folder / f"{k:03}{suffix}")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(paths[-1])
    return paths


def measure_data(rounds, threads, rates):
    "Seconds per crop of 96 pixels, on one thread. `crops` are HR only; `pairs` include LR, as the textbook's do."
    datasets = (
        ("small JPEGs, 178 x 218", 200, (178, 218), ".jpg"),
        ("2K PNGs, 2040 x 1356", 10, (2040, 1356), ".png"),
    )
    for name, count, size, suffix in datasets:
        with tempfile.TemporaryDirectory() as folder:
            paths = write_photos(Path(folder), count, size, suffix)
            results = in_turns("data", ("textbook", "pairs", "crops"), paths, rounds, 1, calls=5)
            yield from rows_of("data", name, results, per=16)
            yield from decoding(name, paths, f"{folder}/cache")
    yield from waiting_share(threads)


def decoding(name: str, paths: list, cache: str):
    "Seconds per photo to open a store: in memory, writing the cache, and reading it."
    from srgan_nb.data import PhotoStore
    passes = {
        "first pass, to memory": {},
        "first pass, to disk": dict(cache=cache),
        "later passes, from disk": dict(cache=cache),
    }
    for label, options in passes.items():
        start = time.perf_counter()
        PhotoStore(paths, **options)
        seconds = (time.perf_counter() - start) / len(paths)
        yield dict(group="decoding", case=name, variant=label, median=seconds)


def waiting_share(threads):
    "The share of a training step that goes into drawing crops, while the device waits."
    import torch

    from srgan_nb.data import PhotoStore, crop_batch, sample_photos
    torch.set_num_threads(threads)
    store, run = PhotoStore(sample_photos()), ours_step("srresnet", 16, "auto")
    wait = warm_up(run)
    drawing = whole = 0.
    for step in range(10):
        start = time.perf_counter()
        crop_batch(store, 16, 0, step)
        drawing += time.perf_counter() - start
        run()
        wait()
        whole += time.perf_counter() - start
    yield dict(group="waiting", case="srresnet, batch 16", variant="auto", share=drawing / whole)


def measure_startup(rounds, threads, rates):
    programs = {
        "import torch, torchvision": "import torch, torchvision",
        "from srgan_nb import Upscaler": "from srgan_nb import Upscaler",
        "import srgan_nb": "import srgan_nb",
        "srgan --help": "import sys; sys.argv = ['srgan', '--help']; from srgan_nb.cli import app; app()",
    }
    times = {name: [] for name in programs}
    for _ in range(rounds + 1):
        for name, program in programs.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - start)
    # The first round reads from disk, so we leave it out.
    results = {name: (seconds[1:], None, 0) for name, seconds in times.items()}
    for row in rows_of("start-up", "", results):
        del row["peak_mib"]
        yield row


LARGE = """
import sys
sys.argv = {command!r}
from srgan_nb.cli import app
app(standalone_mode=False)
sys.path.insert(0, {here!r})
from run import peak_mib
print(peak_mib())
"""


def measure_large(rounds, threads, rates):
    "A 2K and a 4K photograph from file to PNG: seconds and peak memory of the whole command."
    here, environment = str(Path(__file__).parent), os.environ | dict(OMP_NUM_THREADS=str(threads))
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/large.png"
        for width, height in ((2048, 1365), (4096, 2730)):
            (photo,) = write_photos(Path(folder), 1, (width, height), ".png")
            command = ["srgan", "upscale", str(photo), "-o", out, "--overwrite"]
            program = [sys.executable, "-c", LARGE.format(command=command, here=here)]
            start = time.perf_counter()
            output = subprocess.run(program, check=True, capture_output=True, text=True, env=environment).stdout
            yield dict(
                group="large",
                case=f"{width} x {height} to PNG",
                variant="auto",
                median=time.perf_counter() - start,
                peak_mib=int(output.split()[-1]),
                megabytes=round(os.path.getsize(out) / 1e6),
                gigaflop=round(needed_gigaflop(height, width), 1),
            )


MEASURES = dict(
    training=measure_training,
    inference=measure_inference,
    sizes=measure_sizes,
    parts=measure_parts,
    compile=measure_compile,
    data=measure_data,
    startup=measure_startup,
    large=measure_large,
)


def machine(threads: int) -> dict:
    "What the figures depend on."
    import torch

    from srgan_nb.devices import bf16_is_faster, cpu_name, pick_device
    device = pick_device("auto")
    packages = ("torch", "torchvision", "srgan_nb")
    return dict(
        cpu=cpu_name(),
        cores=os.cpu_count(),
        threads=threads,
        device=torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        auto="bf16" if bf16_is_faster(device) else "fp32",
        system=platform.platform(terse=True),
        python=platform.python_version(),
        versions={name: importlib.import_module(name).__version__ for name in packages},
        date=time.strftime("%Y-%m-%d"),
    )


def matrix_rates(rounds: int, threads: int) -> dict:
    """Gigaflop per second in float32, and in bfloat16 where it's faster: the fastest round of a large matrix product or
    convolution. (A processor that emulates bfloat16 takes minutes for one.)"""
    from srgan_nb.devices import bf16_is_faster, pick_device
    precisions = ("fp32", "bf16") if bf16_is_faster(pick_device("auto")) else ("fp32",)
    kinds = [f"{precision} {operation}" for operation in ("product", "convolution") for precision in precisions]
    work = dict(product=2 * 2048**3, convolution=2 * 9 * 256**2 * 16 * 32**2)
    rates = dict.fromkeys(precisions, 0.)
    for kind, (seconds, *_) in in_turns("rate", kinds, None, rounds, threads, calls=3).items():
        precision, operation = kind.split()
        rates[precision] = max(rates[precision], work[operation] / 1e9 / min(seconds))
    return rates


def time_of(row: dict) -> str:
    "A row's seconds, in the largest unit that makes them at least 1."
    for unit, scale in (("s ", 1), ("ms", 1e3), ("us", 1e6)): # noqa: B007 (used after the loop)
        if row["median"] * scale >= 1: break
    spread = f"{row['low'] * scale:.3g}-{row['high'] * scale:.3g}" if "low" in row else ""
    return f"{row['median'] * scale:8.3g} {unit} {spread:13}"


def line_of(row: dict) -> str:
    "A row as it is printed."
    parts = [f"{row['group']:10} {row['case']:24} {row['variant']:30}"]
    parts.append(time_of(row) if "median" in row else f"{row['share']:8.1%} of a step")
    if "ratio" in row: parts.append(f"{row['ratio']:5.2f}x")
    if row.get("peak_mib"): parts.append(f"{row['peak_mib']:6} MiB")
    if "bound" in row: parts.append(f"bound {row['bound']:.3g} s")
    return " ".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("-o", "--out", type=Path, help="file for the results (JSON)")
    args = parser.parse_args()
    # Fail now rather than after minutes of measuring.
    if args.out and not args.out.parent.is_dir(): parser.error(f"{args.out.parent}: no such folder")
    about, rates, rows = machine(args.threads), matrix_rates(args.rounds, args.threads), []
    rounded = {kind: round(rate) for kind, rate in rates.items()}
    print(json.dumps(about | dict(gigaflop_a_second=rounded)))
    for name in args.only:
        for row in MEASURES[name](args.rounds, args.threads, rates):
            rows.append(row)
            print(line_of(row), flush=True)
    report = dict(machine=about, gigaflop_a_second=rates, rounds=args.rounds, rows=rows)
    if args.out: args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__": main()
