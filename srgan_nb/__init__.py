"SRGAN (Ledig et al., CVPR 2017), grown from notebooks. Names load on first use, so that `srgan --help` imports no torch."
__version__ = "0.2.0"

_HOME = dict(Generator="weights", Discriminator="discriminator", VGGFeatures="vgg", Upscaler="inference")
__all__ = list(_HOME)

# What version 0.1 called otherwise, or kept in another module: old module -> old name -> new module and name.
_MOVED = {
    "utils": {
        "pick_device": "devices", "cpu_name": "devices", "pick_precision": "devices", "atomic_path": "files",
        "gains_by_bf16": "devices.bf16_is_faster", "c_function": "devices.glibc_function",
        "as_floats": "utils.require_float", "sweep": "files.remove_leftovers",
    },
    "data": {"lay_on_device": "photo_cache.move_to_device", "CACHE": "photo_cache"},
    "generator": {
        "TailConv": "fast_tail", "checksum": "files", "write_tensors": "files", "read_tensors": "files",
        "tensors_under": "files", "save_generator": "weights", "load_generator": "weights", "model_card": "weights",
        "bundled_weights": "weights", "BUNDLED": "weights", "MODEL_CARD": "weights",
    },
    "training": {
        "Stage": "config", "Config": "config", "learning_rate": "config", "PAPER": "config", "BLOG": "config",
        "TINY": "config", "PRESETS": "config", "STAGES": "config", "content_loss": "steps", "update_ema": "steps",
        "srresnet_step": "steps", "srgan_step": "steps", "colour_shift": "metrics", "make_accelerator": "devices",
        "precision_name": "devices", "keep_freed_memory": "devices", "TrainState": "checkpoint",
        "new_state": "checkpoint", "state_tensors": "checkpoint", "load_state_tensors": "checkpoint",
        "save_checkpoint": "checkpoint", "load_checkpoint": "checkpoint", "Run": "run_folder", "warn": "run_folder",
        "draw_pair": "run_folder", "read_metrics": "run_folder", "read_record": "run_folder",
        "is_finished": "run_folder", "plot_metrics": "run_folder", "stop_request": "processes",
        "checkpoints": "checkpoint.list_checkpoints", "save_slim": "checkpoint.save_weights_only",
        "claim": "run_folder.lock_run", "in_slices": "training.split_batch", "run_stage": "training.train_stage",
        "run_stages": "training.train_stages", "count_unusable": "training.count_nonfinite_steps",
        "keep_statistics": "cuda_graph.skip_unusable_step", "Replayed": "cuda_graph.CudaGraphStep",
    },
    "inference": {
        "halo": "tiling", "render_halo": "tiling", "tiles": "tiling", "bands": "tiling", "in_tiles": "tiling",
        "tile_shape": "tiling", "upscale_file": "media", "upscale_video": "media", "VIDEO_SUFFIXES": "media",
        "export_onnx": "export", "PIXELS": "inference.FEATURE_PIXELS", "STRIP": "inference.RENDER_PIXELS",
    },
    "cli": {
        "pair_photos": "evaluation", "score": "evaluation", "evaluate_folder": "evaluation",
        "my_part": "processes.shard", "together": "processes.gather_all", "leave": "processes.finish_together",
        "places_of": "cli.expand_paths",
    },
}


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__():
    return sorted([*globals(), *__all__])


def old_names(module):
    "The `__getattr__` of a module: names that moved are found where they are now; renamed ones with a warning."

    def __getattr__(name):
        if name not in _MOVED[module]:
            raise AttributeError(f"module 'srgan_nb.{module}' has no attribute {name!r}")
        from importlib import import_module
        from warnings import warn

        home, _, new_name = _MOVED[module][name].partition(".")
        if new_name:
            message = f"srgan_nb.{module}.{name} is now srgan_nb.{home}.{new_name}"
            warn(message, DeprecationWarning, stacklevel=2)
        return getattr(import_module(f".{home}", __name__), new_name or name)

    return __getattr__
