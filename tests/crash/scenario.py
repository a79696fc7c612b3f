"""Scenarios that the crash tests run in a child, and resume in the test itself."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from crash.toy import Witness, job
from treadle.machinery.disk import Disk
from treadle.machinery.engine import LocalEngine
from treadle.machinery.ledger import Ledger, Limits
from treadle.machinery.lock import only_writer
from treadle.machinery.store import Store

NOT_DATA = ("ledger.sqlite*", ".lock", "witness")
LIMIT_TOKENS = 2_000


def whole_run(disk: Disk, folder: str, sleep_s: str = "0") -> None:
    """Do all that a run does: lock, ledger, several stages, a decision, a published file."""
    root = Path(folder)
    with only_writer(root):
        ledger = Ledger(root / "ledger.sqlite", Limits(tokens=LIMIT_TOKENS), disk)
        engine = LocalEngine(Store(root / "store", disk), ledger)
        made = job(engine, Witness(root / "witness", float(sleep_s)))
        if not ledger.decisions("verdict"):
            ledger.decide("verdict", {"decision": "accept"})
        disk.publish(root / "made.txt", "\n".join(made).encode())
        ledger.close()


def hold(disk: Disk, folder: str) -> None:
    """Take a folder's lock and keep it until killed."""
    with only_writer(Path(folder)):
        print("held", flush=True)
        time.sleep(600)


def refused(disk: Disk, folder: str) -> None:
    """Try to take a folder's lock that another process holds."""
    with only_writer(Path(folder)):
        sys.exit("took it")
