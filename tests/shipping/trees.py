"""Folders of code that tests of shipping lay out."""

import base64
import hashlib
import sys
from pathlib import Path


def write(root: Path, files: dict[str, str]) -> Path:
    """Write files below a folder."""
    for name, text in files.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return root


def install(
    site: Path, name: str, version: str, files: dict[str, str], **more: str
) -> None:
    """Install a distribution into a folder as pip does, with RECORD and metadata."""
    info = f"{name}-{version}.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
        **{f"{info}/{key}": text for key, text in more.items()},
    }
    write(site, files)
    lines = []
    for path, text in files.items():
        digest = hashlib.sha256(text.encode()).digest()
        code = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        lines.append(f"{path},sha256={code},{len(text.encode())}\n")
    lines += ["../../../bin/tool,,\n", f"{info}/RECORD,,\n"]
    write(site, {f"{info}/RECORD": "".join(lines)})


def forget(*names: str) -> None:
    """Take modules out of this interpreter again."""
    for loaded in list(sys.modules):
        if loaded.partition(".")[0] in names:
            del sys.modules[loaded]


def lay_out(project: Path, name: str, size: int = 0) -> None:
    """Write a package with a data file."""
    write(project, {f"{name}/__init__.py": f"NAME = {name!r}"})
    (project / name / "data.bin").write_bytes(bytes(size))


def use(module):
    """Return a function that imports a package on a worker."""

    def use_it():
        import importlib

        return importlib.import_module(module).NAME

    return use_it
