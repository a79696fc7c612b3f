"""Full disks, file-size limits, read-only folders and too few file handles, for real.

Each is met in a child, which must end with one StoreError; then the trouble goes away, and the same
run must end with the bytes of an undisturbed one. Injected errors are in `test_every_crash_point`.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crash.killing import child, environment, run, tree_hash
from crash.scenario import NOT_DATA, whole_run
from treadle.errors import StoreError
from treadle.machinery.disk import Disk

NOBODY = 65534


def small_files(disk: Disk, folder: str, limit_bytes: str) -> None:
    """Run where no file may grow beyond a limit."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit_bytes), int(limit_bytes)))
    whole_run(disk, folder)


def few_handles(disk: Disk, folder: str) -> None:
    """Run with fewer and fewer file handles left, then with enough, and report the errors."""
    errors, held = [], [os.open(os.devnull, os.O_RDONLY)]
    lowest = held[0]
    for spare in range(12):
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1 + spare, 4096))
        try:
            whole_run(disk, folder)
        except StoreError as error:
            errors.append(str(error))
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 4096))
    whole_run(disk, folder)
    print(json.dumps(errors))


def crowded(disk: Disk, mount: str) -> None:
    """Run in a small file system that is full but for some kB, then with room; report."""
    errors, root = [], Path(mount)
    for spare_kb in range(0, 1600, 80):
        folder = root / "run"
        ballast = root / "ballast"
        with ballast.open("wb") as file:
            while shutil.disk_usage(root).free > spare_kb * 1024:
                file.write(b"0" * 4096)
                file.flush()
        try:
            whole_run(disk, str(folder))
        except StoreError as error:
            errors.append(str(error))
        ballast.unlink()
        whole_run(disk, str(folder))
        print(json.dumps([errors[-1:], tree_hash(folder, NOT_DATA)]))
        shutil.rmtree(folder)


def as_nobody(disk: Disk, folder: str) -> None:
    """Run as a user who may read the folder and not write it."""
    if os.geteuid() == 0:
        os.setresuid(NOBODY, NOBODY, NOBODY)
    whole_run(disk, folder)


def test_a_file_size_limit_is_a_clear_error_and_the_run_resumes(fast_path: Path) -> None:
    whole_run(Disk(), str(fast_path / "unbroken"))
    for limit_bytes in (1, 60, 200, 10_000, 40_000, 60_000):
        folder = fast_path / str(limit_bytes)
        done = run(child("crash.test_full_disk:small_files", folder, limit_bytes))
        assert "treadle.errors.StoreError" in done.stderr.splitlines()[-1]
        assert str(folder) in done.stderr.splitlines()[-1]
        whole_run(Disk(), str(folder))
        assert tree_hash(folder, NOT_DATA) == tree_hash(fast_path / "unbroken", NOT_DATA)


def test_too_few_file_handles_are_clear_errors_and_forget_nothing(fast_path: Path) -> None:
    whole_run(Disk(), str(fast_path / "unbroken"))
    done = run(child("crash.test_full_disk:few_handles", fast_path / "run"))
    assert done.returncode == 0, done.stderr
    errors = json.loads(done.stdout)
    assert errors
    assert all(str(fast_path / "run") in error for error in errors)
    unbroken = tree_hash(fast_path / "unbroken", NOT_DATA)
    assert tree_hash(fast_path / "run", NOT_DATA) == unbroken


def test_a_full_disk_is_a_clear_error_and_the_run_resumes(tmp_path: Path) -> None:
    mount = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=8m none "$0" && exec "$@"']
    if not shutil.which("unshare") or run([*mount, str(tmp_path), "true"]).returncode != 0:
        pytest.skip("this user may not mount a small file system")
    done = run([*mount, str(tmp_path), *child("crash.test_full_disk:crowded", tmp_path)])
    assert done.returncode == 0, done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    whole_run(Disk(), str(tmp_path / "unbroken"))
    unbroken = tree_hash(tmp_path / "unbroken", NOT_DATA)
    assert len(reports) == 20
    assert all(tree == unbroken for _, tree in reports)
    errors = [errors[0] for errors, _ in reports if errors]
    assert len(errors) >= 3
    assert all("room" in error for error in errors)


def test_a_read_only_folder_is_a_clear_error(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    whole_run(Disk(), str(folder))
    before = tree_hash(folder)
    command = child("crash.test_full_disk:as_nobody", folder)
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    opened = [p for p in (tmp_path, *tmp_path.parents) if p.stat().st_mode & 0o055 != 0o055]
    modes = {path: path.stat().st_mode for path in opened}
    try:
        for path in opened:
            path.chmod(modes[path] | 0o055)
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=60, check=False
        )
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)
    assert done.returncode == 1, sys.stderr.write(done.stderr)
    assert "treadle.errors.StoreError" in done.stderr.splitlines()[-1]
    assert "permission" in done.stderr.splitlines()[-1].lower()
    assert tree_hash(folder) == before
