"""Settings of all tests."""

import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, settings

from tools.packages import pinned_versions

os.environ.setdefault("MPLBACKEND", "Agg")
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
