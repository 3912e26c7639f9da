"""Installs the four folders as one package: minicnn, minicnn.kernels, minicnn.models and minicnn.experiments.

Top-level packages called `kernels` and `models` would collide with those of others.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

FOLDERS = {
    "minicnn": "minicnn",
    "minicnn.kernels": "kernels",
    "minicnn.models": "models",
    "minicnn.experiments": "experiments",
}

DATA = {
    "minicnn": ["py.typed"],
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
    "oracles": ["torch==2.13.0", "onnx>=1.17"],
    # Every extra that runs on a CPU belongs in here too, except the oracles: torch alone is larger than all the rest.
    "test": [
        "pytest>=8.3",
        "pytest-xdist>=3.6.1",
        "pytest-cov>=7.0",
        "hypothesis>=6.100",
        "ruff>=0.12",
        "mypy>=1.15",
        "scipy>=1.13",
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
    install_requires=CORE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["minicnn = minicnn.cli:main"]},
    zip_safe=False,
)
