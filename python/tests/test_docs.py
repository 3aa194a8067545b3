"""The Python lines of the guide and of the README work as they stand."""

import os
import pathlib
import subprocess
import sys

import pytest

import wgpu_activations as wa

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["README.md", "docs/python.md", "python/README.md"])
def test_the_pages_lines_work(page):
    text = (ROOT / page).read_text()
    blocks = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    assert blocks
    try:
        wa.Backend("gpu")
    except wa.DeviceError:
        # Continuous integration has an adapter.
        if os.environ.get("CI"):
            raise
        blocks = [block for block in blocks if "wa.Device(" not in block]
    done = subprocess.run([sys.executable, "-c", "\n".join(blocks)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
