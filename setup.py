"Package metadata, read from settings.ini (nbdev's file), so that each fact is written only once."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
ini = ConfigParser(delimiters=["="])
ini.read(here / "settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]

# A package index shows README without the files next to it, so its links have to be complete.
images = f"https://raw.githubusercontent.com/{cfg['user']}/{cfg['repo']}/{cfg['branch']}/nbs/images/"
notebooks = f"{cfg['git_url']}/blob/{cfg['branch']}/nbs/"
readme = (here / "README.md").read_text(encoding="utf-8")
readme = readme.replace("](nbs/images/", f"]({images}").replace('src="nbs/images/', f'src="{images}')
readme = readme.replace("](nbs/", f"]({notebooks}")

names = ("notebook", "perceptual", "onnx", "track", "video", "formats")
extras = {name: cfg[f"{name}_requirements"].split() for name in names}
# The notebooks check an ONNX file, a tracked run and a clip that they make.
extras["notebook"] += extras["onnx"] + extras["track"] + extras["video"]
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
    # With this, an editable install is a path file. Without it, a script in the folder above a checkout called srgan_nb
    # would import that folder instead of the package.
    package_dir={"": "."},
    package_data={"srgan_nb": ["model_card.md", "weights/*.safetensors", "weights/*.json"]},
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg["requirements"].split(),
    extras_require=extras,
    entry_points={
        "console_scripts": cfg["console_scripts"].split(),
        "nbdev": [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"],
    },
    zip_safe=False,
)
