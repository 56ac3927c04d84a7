"""Real workers that cannot run compiled code of the client: refused, with both sides' facts."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sysconfig

import pytest
from tests.shipping.trees import install

from splice.shipping.tags import facts_here

pytestmark = pytest.mark.system

SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")


def wheel(tag: str) -> dict[str, str]:
    """Return the WHEEL file of a distribution that was built for one tag."""
    return {"WHEEL": f"Wheel-Version: 1.0\nTag: {tag}\n"}


FILES = {"compiled/__init__.py": "", f"compiled/_c{SUFFIX}": ""}


def test_a_wheel_for_a_later_glibc_is_refused_with_both_versions(far_session, project):
    glibc = facts_here().glibc
    if glibc is None:
        pytest.skip("needs a Python on glibc")
    tag = f"cp311-cp311-manylinux_9_99_{platform.machine()}"
    install(project, "compiled", "1.0", FILES, **wheel(tag))

    def use():
        try:
            import compiled  # noqa: F401
        except ImportError as error:
            return type(error).__name__, str(error)

    c = far_session(hide=(project,))
    ((kind, text),) = c.apply(use)
    assert kind == "DependencyRefused"
    assert "built for glibc 9.99 and later" in text
    assert f"the worker has {glibc[0]}.{glibc[1]}" in text
    assert c.dependencies() == []


def test_a_worker_of_another_machine_type_is_refused_compiled_code_only(
    far_session, project
):
    linux32 = shutil.which("linux32")
    if linux32 is None:
        pytest.skip("needs linux32, to have a worker of another machine type")
    other = subprocess.check_output([linux32, "uname", "-m"], text=True).strip()
    if other == platform.machine():
        pytest.skip("linux32 changes nothing on this machine")
    install(project, "compiled", "1.0", FILES)
    install(project, "plain", "1.0", {"plain.py": "N = 3"})

    def use():
        import plain

        try:
            import compiled  # noqa: F401
        except ImportError as error:
            return plain.N, type(error).__name__, str(error)

    c = far_session(hide=(project,), under=(linux32,))
    ((number, kind, text),) = c.apply(use)
    assert (number, kind) == (3, "DependencyRefused")
    assert f"built for linux on {platform.machine()}" in text
    assert f"the worker is linux on {other}" in text
