"""Installs the four folders as one package: minicnn, minicnn.kernels, minicnn.models and minicnn.experiments.

Top-level packages called `kernels` and `models` would collide with those of others.

Where there is a C compiler the native kernels are compiled as well (kernels/native/build.py). They are plain libraries
that know nothing of Python: one wheel serves every version of it.
"""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

NATIVE = Path("kernels/native")

FOLDERS = {
    "minicnn": "minicnn",
    "minicnn.kernels": "kernels",
    "minicnn.models": "models",
    "minicnn.experiments": "experiments",
}

DATA = {
    "minicnn": ["py.typed"],
    "minicnn.kernels.native": ["*.c", "*.h"],
    "minicnn.models": ["*.toml", "data/*.txt", "weights/*.safetensors", "weights/*.log"],
    "minicnn.experiments": ["recipes/*.toml"],
}

CORE = [
    "numpy>=2.0",
    "pillow>=11.0",
    "typer>=0.16",
    "rich>=13.7",
    "safetensors>=0.4.3",
    "platformdirs>=4.0",
    "filelock>=3.13",
    "scikit-learn>=1.5",
    "matplotlib>=3.9",
    "threadpoolctl>=3.1",  # comes with scikit-learn
    'tomli>=2.0; python_version < "3.11"',
]

EXTRAS = {
    "gpu12": ["cupy-cuda12x>=13.3"],
    "gpu13": ["cupy-cuda13x>=14.0"],
    "onnx": ["onnx>=1.17"],  # `minicnn weights convert FILE.onnx`
    "vision": ["opencv-python-headless>=4.10"],  # `minicnn explain segment`
    "oracles": ["torch==2.13.0", "torchvision==0.28.0", "onnx>=1.17"],
    # Every extra that runs on a CPU belongs in here too, except the oracles, of which onnx is one: torch alone is
    # larger than all the rest.
    "test": [
        "pytest>=8.3",
        "pytest-xdist>=3.6.1",
        "pytest-cov>=7.0",
        "hypothesis>=6.100",
        "ruff>=0.12",
        "mypy>=1.15",
        "scipy>=1.13",
        "opencv-python-headless>=4.10",
        "setuptools>=77",  # the tests build the package
    ],
}


def packages() -> list[str]:
    """The four packages and whatever packages lie in their folders: a new one need not be listed."""
    return [
        package
        for root, folder in FOLDERS.items()
        for package in (root, *(f"{root}.{name}" for name in find_packages(folder)))
    ]


def version() -> str:
    """The version that minicnn/__init__.py states, read without importing it."""
    text = Path("minicnn/__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)[0]


def compile_into(target: Path) -> list[Path]:
    """Compile the native kernels, by the file that does so: importing it as a module would import all of minicnn."""
    spec = spec_from_file_location("build_native", NATIVE / "build.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    found: list[Path] = module.build(NATIVE, target)
    return found


class BuildLibraries(build_ext):
    """`build_ext`, by a compiler of its own choice, and without failing where there is none."""

    built: list[Path] = []  # noqa: RUF012  before it runs, which is when an editable installation asks

    def run(self) -> None:
        target = NATIVE if self.inplace else Path(self.build_lib, "minicnn", NATIVE)
        self.built = compile_into(target)

    def get_outputs(self) -> list[str]:
        return list(self.get_output_mapping()) or [str(file) for file in self.built]

    def get_output_mapping(self) -> dict[str, str]:
        """Where each file belongs in a wheel -> where it lies, if that is among the sources."""
        return {str(Path(self.build_lib, "minicnn", file)): str(file) for file in self.built if self.inplace}


class TagWheel(bdist_wheel):
    """A wheel for this platform and any Python 3; without libraries, for any platform."""

    def get_tag(self) -> tuple[str, str, str]:
        built: Any = self.get_finalized_command("build_ext")
        libraries = any(Path(file).suffix == ".so" for file in built.get_outputs())
        return "py3", "none", super().get_tag()[2] if libraries else "any"


setup(
    name="minicnn",
    version=version(),
    description="Convolutional networks with every backward pass written by hand",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=packages(),
    package_dir=FOLDERS,
    package_data=DATA,
    ext_modules=[Extension("minicnn.kernels.native", [])],  # says that there is something to build
    cmdclass={"build_ext": BuildLibraries, "bdist_wheel": TagWheel},
    install_requires=CORE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["minicnn = minicnn.cli:main"]},
    zip_safe=False,
)
