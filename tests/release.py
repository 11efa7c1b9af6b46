"""Use a wheel where nothing else of ours is: ``python -m tests.release DIST`` does it with everything installed anew."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = """
from pathlib import Path
import sys
import dynaip, dynaip_plugins, dynaip_analysis
from PIL import Image
from dynaip import Reference

home = Path(sys.prefix).resolve()
for package in (dynaip, dynaip_plugins, dynaip_analysis):
    assert home in Path(package.__file__).resolve().parents, package.__file__
world = dynaip.load("microworld")
reference = Reference(Image.new("RGB", (64, 64), "red"))
world.generate("a large star at the left, on sea", reference, num_inference_steps=1).save("star.png")
"""


def environment(folder: Path, wheel: Path, *, shared: bool) -> Path:
    """An empty environment that holds the wheel; its dependencies are installed, or ``shared``: those of this process."""
    venv.create(folder, with_pip=not shared)
    python = folder / "bin" / "python"
    own = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    if shared:
        # A path in a .pth file adds a folder, not the .pth files in it: an editable install beside us stays outside.
        (own / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(python),
            "install",
            "-q",
            "--no-deps",
            "--no-index",
            "--no-compile",
        ]
        run([*pip, "--ignore-installed", str(wheel)], folder)
    else:
        run([str(python), "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), str(wheel)], folder)
    return python


def run(command: list[str], folder: Path) -> str:
    """Run a command that sees nothing of this checkout; what it prints."""
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST_"))}
    done = subprocess.run(command, cwd=folder, env=alone, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def main(dist: Path) -> None:
    """Install the newest wheel of a folder with its dependencies, and paint a picture with it."""
    wheel = max(dist.glob("*.whl"), key=lambda path: path.stat().st_mtime).resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = environment(folder / "alone", wheel, shared=False)
        print(run([str(python.with_name("dynaip")), "--version"], folder).strip())
        run([str(python), "-c", PICTURE], folder)
        print(f"{wheel.name}: installed alone, and it painted a picture")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
