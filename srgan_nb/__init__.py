"SRGAN (Ledig et al., CVPR 2017), grown from notebooks. Names load on first use, so that `srgan --help` imports no torch."
__version__ = "0.1.0"

_HOME = dict(Generator="generator", Discriminator="discriminator", VGGFeatures="vgg", Upscaler="inference")
__all__ = list(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__():
    return sorted([*globals(), *__all__])
