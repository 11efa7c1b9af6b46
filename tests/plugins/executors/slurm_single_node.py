"""Starts a SLURM of one node on this machine, as root, in a folder of its own: ``python slurm_single_node.py FOLDER``.

Prints ``ready`` when it takes jobs (``SLURM_CONF`` is FOLDER/slurm.conf then), and ends its daemons when its input ends.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

CONF = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SlurmctldPort={port}
SlurmdPort={next_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdSpoolDir={folder}/spool
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
InactiveLimit=0
KillWait=5
MinJobAge=60
SchedulerParameters=sched_interval=1,batch_sched_delay=0
JobRequeue=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def started(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main(folder: Path) -> int:
    for name in ("spool", "state"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    host = socket.gethostname().partition(".")[0]
    text = CONF.format(folder=folder, host=host, port=free_port(), next_port=free_port(), cpus=os.cpu_count())
    (folder / "slurm.conf").write_text(text)
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    paths = [
        f"--{name}={folder}/munge.{name.partition('-')[0]}"
        for name in ("key-file", "pid-file", "seed-file", "log-file")
    ]
    munge = started("munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *paths)
    time.sleep(1)
    daemons = [munge, started("slurmctld", "-D"), started("slurmd", "-D", "-N", host)]
    try:
        for _ in range(60):
            found = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, check=False)
            if found.stdout.split() == ["idle"]:
                print("ready", flush=True)
                sys.stdin.read()
                return 0
            time.sleep(0.5)
        print(found.stdout, found.stderr, (folder / "slurmctld.log").read_text()[-2000:], flush=True)
        return 1
    finally:
        subprocess.run(["scancel", "--me", "--signal=KILL"], check=False)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(20)


if __name__ == "__main__":
    os.environ["PATH"] += ":/usr/sbin"
    lacking = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None]
    if lacking:
        sys.exit(f"not installed: {', '.join(lacking)} (apt-get install slurm-wlm munge)")
    sys.exit(main(Path(sys.argv[1]).absolute()))
