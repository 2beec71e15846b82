"Package metadata, read from settings.ini (nbdev's file) so that each fact stands once."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
ini = ConfigParser(delimiters=["="])
ini.read(here / "settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]

raw = f"https://raw.githubusercontent.com/{cfg['user']}/{cfg['repo']}/{cfg['branch']}/nbs/images/"
readme = (here / "README.md").read_text(encoding="utf-8") # a package index shows it without the files beside it
for near, far in (("](nbs/images/", f"]({raw}"), ('src="nbs/images/', f'src="{raw}'), ("](nbs/", f"]({cfg['git_url']}/blob/{cfg['branch']}/nbs/")): readme = readme.replace(near, far)

extras = {name: cfg[f"{name}_requirements"].split() for name in ("notebook", "perceptual", "onnx", "track", "video")}
extras["notebook"] += extras["onnx"] + extras["track"] + extras["video"] # the notebooks check their ONNX file, tracked run and clip
extras["dev"] = sum(extras.values(), cfg["dev_requirements"].split())

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=readme,
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["git_url"],
    license="Apache-2.0 AND CC-BY-SA-4.0",
    keywords=cfg["keywords"].split(),
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Processing",
    ],
    packages=find_packages(include=["srgan_nb", "srgan_nb.*"]),
    # Makes an editable install a path file. Without it, a script above a checkout called srgan_nb would find that folder first.
    package_dir={"": "."},
    package_data={"srgan_nb": ["weights/*.safetensors", "weights/*.json"]},
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg["requirements"].split(),
    extras_require=extras,
    entry_points={
        "console_scripts": cfg["console_scripts"].split(),
        "nbdev": [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"],
    },
    zip_safe=False,
)
