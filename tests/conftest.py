"""Settings of all tests."""

import os
import subprocess
import sys

os.environ.setdefault("MPLBACKEND", "Agg")
# Workers share the cores, and for models so small a second thread gains nothing.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import HealthCheck, settings

from tools.environment import pinned_versions

torch.set_num_threads(1)
# A loaded machine is slow, not wrong.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session")
def registry():
    """Skips where pip finds no package registry."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    one = ["--target=unused", "--retries=0", "--timeout=10", f"iniconfig=={pinned_versions()['iniconfig']}"]
    if subprocess.run([*pip, *one], capture_output=True).returncode:
        pytest.skip("no package registry answers")


def pytest_collection_modifyitems(items):
    """Where there are several workers, one takes a file with its fixtures; notebooks go to any."""
    for item in items:
        if "notebook" not in item.keywords:
            item.add_marker(pytest.mark.xdist_group(item.path.name))
