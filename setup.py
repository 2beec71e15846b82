"Package metadata, read from settings.ini (nbdev's file), so that each fact is written only once."
import sys
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).parent
sys.path.insert(0, str(here / "tools"))
from docstrings import describe  # noqa: E402


class BuildPy(build_py):
    "Modules of a wheel: without nbdev's index, and with the parameters' descriptions in the docstrings."
    def find_package_modules(self, package, package_dir):
        modules = super().find_package_modules(package, package_dir)
        return [module for module in modules if module[1] != "_modidx"]

    def build_module(self, module, module_file, package):
        target, copied = super().build_module(module, module_file, package)
        Path(target).write_text(describe(Path(target).read_text(encoding="utf-8")), encoding="utf-8")
        return target, copied


ini = ConfigParser(delimiters=["="])
ini.read(here / "settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]

# A package index shows README without the files next to it, so its links have to be complete.
images = f"https://raw.githubusercontent.com/{cfg['user']}/{cfg['repo']}/{cfg['branch']}/nbs/images/"
notebooks = f"{cfg['git_url']}/blob/{cfg['branch']}/nbs/"
readme = (here / "README.md").read_text(encoding="utf-8")
readme = readme.replace("](nbs/images/", f"]({images}").replace('src="nbs/images/', f'src="{images}')
readme = readme.replace("](nbs/", f"]({notebooks}")

names = ("large", "formats", "video", "perceptual", "onnx", "track")
extras = {name: cfg[f"{name}_requirements"].split() for name in names}
extras["all"] = sum(extras.values(), [])
# The notebooks check a large PNG, an ONNX file, a tracked run and a clip that they make.
made = sum((extras[name] for name in ("large", "onnx", "track", "video")), [])
extras["notebook"] = cfg["notebook_requirements"].split() + made
extras["dev"] = list(dict.fromkeys(cfg["dev_requirements"].split() + extras["all"] + extras["notebook"]))

scripts = {"console_scripts": cfg["console_scripts"].split()}
# The site's links between symbols come from nbdev's index, which only a checkout has.
if "editable_wheel" in sys.argv: scripts["nbdev"] = [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"]

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
    package_data={"srgan_nb": ["py.typed", "model_card.md", "weights/*"]},
    license_files=["LICENSE", "srgan_nb/weights/LICENSE"],
    cmdclass={"build_py": BuildPy},
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg["requirements"].split(),
    extras_require=extras,
    entry_points=scripts,
    zip_safe=False,
)
