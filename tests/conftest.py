"""What all tests share: where the real data lie, and how hypothesis draws its examples."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Few examples, so that the whole suite stays short; in CI the same ones each time.
settings.register_profile("minicnn", max_examples=25, deadline=None, derandomize="CI" in os.environ)
settings.load_profile("minicnn")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The first folder of MINICNN_DATA that exists. Skips the test where there is none."""
    folders = [Path(folder) for folder in os.environ.get("MINICNN_DATA", "").split(os.pathsep) if folder]
    for folder in folders:
        if folder.is_dir():
            return folder
    pytest.skip("no real data: MINICNN_DATA names no folder that exists")
