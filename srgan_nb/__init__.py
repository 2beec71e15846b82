"SRGAN (Ledig et al., CVPR 2017), grown from notebooks. Names load on first use, so `srgan --help` imports no torch."
__version__ = "0.2.0"

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING: # editors and type checkers read this, Python doesn't
    from .discriminator import Discriminator
    from .inference import Upscaler
    from .vgg import VGGFeatures
    from .weights import Generator

__all__ = ["Generator", "Discriminator", "VGGFeatures", "Upscaler"]
_HOME = dict(Generator="weights", Discriminator="discriminator", VGGFeatures="vgg", Upscaler="inference")

# Where names of version 0.1 are now: old module -> new module -> names, `old=new` if the name has changed.
_MOVED = {
    "utils": {
        "devices": "pick_device cpu_name pick_precision gains_by_bf16=bf16_is_faster c_function=glibc_function",
        "files": "atomic_path sweep=remove_leftovers",
        "utils": "as_floats=require_float",
    },
    "data": {
        "photo_cache": "lay_on_device=move_to_device CACHE",
    },
    "generator": {
        "fast_tail": "TailConv",
        "files": "checksum write_tensors read_tensors tensors_under",
        "weights": "save_generator load_generator model_card bundled_weights BUNDLED MODEL_CARD",
    },
    "training": {
        "config": "Stage Config learning_rate PAPER BLOG TINY PRESETS STAGES",
        "steps": "content_loss update_ema srresnet_step srgan_step",
        "metrics": "colour_shift",
        "devices": "make_accelerator precision_name keep_freed_memory",
        "checkpoint": "TrainState new_state state_tensors load_state_tensors save_checkpoint load_checkpoint "
            "checkpoints=list_checkpoints save_slim=save_weights_only",
        "run_folder": "Run warn=log_once draw_pair read_metrics read_record is_finished plot_metrics claim=lock_run",
        "processes": "stop_request",
        "training": "in_slices=split_batch run_stage=train_stage run_stages=train_stages "
            "count_unusable=count_nonfinite_steps",
        "cuda_graph": "keep_statistics=skip_unusable_step Replayed=CudaGraphStep",
    },
    "inference": {
        "tiling": "halo render_halo tiles bands tile_shape",
        "media": "upscale_file upscale_video VIDEO_SUFFIXES",
        "export": "export_onnx",
        "inference": "PIXELS=TILE_PIXELS STRIP=STRIP_PIXELS",
    },
    "cli": {
        "evaluation": "pair_photos score evaluate_folder",
        "processes": "my_part=shard together=gather_all leave=finish_together",
        "paths": "places_of=expand_paths output_paths photos_in is_clip",
    },
}


def _load(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOME[name]}", __name__), name)


if not TYPE_CHECKING:
    __getattr__ = _load # or a type checker would take every name for one of ours


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def old_home(module: str, name: str) -> tuple[str, str]:
    "Where a name of version 0.1 is now: module and name. Raises `AttributeError` if there was none."
    for home, names in _MOVED[module].items():
        for item in names.split():
            old, _, new = item.partition("=")
            if old == name:
                return home, new or old
    raise AttributeError(f"module 'srgan_nb.{module}' has no attribute {name!r}")


def old_names(module: str) -> Callable[[str], Any]:
    "The `__getattr__` of a module: names that moved are found where they are now; renamed ones with a warning."

    def __getattr__(name: str) -> Any:
        from importlib import import_module
        from warnings import warn

        home, new_name = old_home(module, name)
        if new_name != name:
            message = f"srgan_nb.{module}.{name} is now srgan_nb.{home}.{new_name}"
            warn(message, DeprecationWarning, stacklevel=2)
        return getattr(import_module(f".{home}", __name__), new_name)

    return __getattr__
