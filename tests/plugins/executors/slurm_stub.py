"""A scheduler in one file that stands in for SLURM: ``slurm_stub.py sbatch …``, ``squeue``, ``scancel``, ``scontrol``, ``srun``.

It knows arrays with ``%`` limits, signals and requeueing, and forgets a job when it has ended, as a controller does.
State lies in ``$STUB``: one JSON file a job.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

STUB = Path(os.environ["STUB"])


def write(number: str, **state: object) -> None:
    part = STUB / f".{number}.part"
    part.write_text(json.dumps(state))
    part.replace(STUB / f"{number}.json")


def read(number: str) -> dict[str, object]:
    try:
        return json.loads((STUB / f"{number}.json").read_text())
    except FileNotFoundError:
        return {}


def sbatch(arguments: list[str]) -> None:
    first = str(1 + sum(1 for _ in STUB.glob("*.submitted")))
    (STUB / f"{first}.submitted").write_text(Path(arguments[-1]).read_text())
    found = re.search(r"--array=0-(\d+)%(\d+)", (STUB / f"{first}.submitted").read_text())
    numbers = [f"{first}_{place}" for place in range(int(found[1]) + 1)] if found else [first]
    for number in numbers:
        write(number, state="PENDING")
    command = [sys.executable, __file__, "scheduler", first, found[2] if found else "1", *numbers]
    with (STUB / f"{first}.err").open("w") as log:
        subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    print(f"Submitted batch job {first}")


def scheduler(arguments: list[str]) -> None:
    """Run one array, ``limit`` at a time."""
    first, limit, numbers = arguments[0], int(arguments[1]), arguments[2:]
    running: dict[str, subprocess.Popen[bytes]] = {}
    while numbers or running:
        for number in [each for each in numbers if not (STUB / f"{each}.json").exists()]:
            numbers.remove(number)  # cancelled
        while numbers and len(running) < limit:
            number = numbers.pop(0)
            running[number] = subprocess.Popen(["bash", str(STUB / f"{first}.submitted")], env=environment(number))
            write(number, state="RUNNING", pid=running[number].pid)
        for number, process in list(running.items()):
            if process.poll() is not None:
                del running[number]
                if read(number).get("requeue"):
                    write(number, state="PENDING")
                    numbers.append(number)
                else:
                    (STUB / f"{number}.json").unlink(missing_ok=True)
        time.sleep(0.05)


def environment(number: str) -> dict[str, str]:
    job, _, place = number.partition("_")
    made = os.environ | {"SLURM_JOB_ID": number, "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    made |= {"SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0", "SLURM_JOB_NODELIST": "here"}
    return made | ({"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": place} if place else {})


def squeue(arguments: list[str]) -> None:
    for file in STUB.glob("*.json"):
        print(f"{file.stem}|{json.loads(file.read_text())['state']}")


def scancel(arguments: list[str]) -> None:
    number, kinds = arguments[-1], [each.partition("=")[2] for each in arguments if each.startswith("--signal=")]
    state = read(number)
    if state.get("state") == "PENDING":
        (STUB / f"{number}.json").unlink()
    elif "pid" in state:
        steps = subprocess.run(["pgrep", "-P", str(state["pid"])], capture_output=True, text=True, check=False)
        for pid in map(int, steps.stdout.split()):
            signal_tree(pid, getattr(signal, f"SIG{kinds[0] if kinds else 'TERM'}"))


def signal_tree(pid: int, number: int) -> None:
    """A step's signal reaches all of its processes."""
    for child in subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split():
        signal_tree(int(child), number)
    os.kill(pid, number)


def scontrol(arguments: list[str]) -> None:
    assert arguments[0] == "requeue"
    write(arguments[1], **read(arguments[1]) | {"requeue": True})


def srun(arguments: list[str]) -> None:
    """``srun --unbuffered --output FILE --error FILE COMMAND…``, as a child, whose files are made elsewhere."""
    command = arguments[5:]
    assert shlex.join(arguments[:5]).startswith("--unbuffered --output")
    sys.exit(subprocess.call(command))


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2:])
