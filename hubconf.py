"""The bundled networks for `torch.hub`: `torch.hub.load(FOLDER, "srgan", source="local")`."""
dependencies = ["torch", "safetensors", "huggingface_hub"]


def srresnet():
    "The generator trained on pixels, in eval mode: RGB `(n, 3, h, w)` in [0, 1] to `(n, 3, 4h, 4w)` in [-1, 1]."
    from srgan_nb.weights import load_generator
    return load_generator("srresnet")


def photo():
    "SRGAN for photographs as they come, with noise and JPEG. LR in [0, 1] to SR in [-1, 1]."
    from srgan_nb.weights import load_generator
    return load_generator("photo")


def srgan():
    "The generator trained adversarially, in eval mode: RGB `(n, 3, h, w)` in [0, 1] to `(n, 3, 4h, 4w)` in [-1, 1]."
    from srgan_nb.weights import load_generator
    return load_generator("srgan")
