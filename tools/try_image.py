"""The Dockerfile without Docker: its steps in minimal Debian root file systems, then the server.

`try_image.py`, as root. `FROM debian:SUITE-slim` is a root file system of debootstrap, of the same packages;
RUN is a shell in it, COPY copies what is committed. What comes out is mounted read-only, and CMD runs there
as the USER of the image without any right, in a network namespace of its own: once as it is (io_uring, as no
seccomp profile forbids it here) and once with the portable engine. HEALTHCHECK must pass, then a page must
come, and SIGTERM must end it with 0.

The logs stay in build/image/. Exit status: 0 all went well, 1 not.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import re
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING

from debian_root import GIT, TOP, Failed, alone, copied, lend_certificates, line_in, make_base
from dockerfile_parse import DockerfileParser

if TYPE_CHECKING:
    from pathlib import Path

PLACE = TOP / "build" / "image"
ARCHIVE = "LIBURING_ARCHIVE"
WAIT_S = 30.0
PAGE = b"<!doctype html><title>zchttpd</title>"
# linux/sched.h, linux/sockios.h, linux/if.h
CLONE_NEWNET, SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x40000000, 0x8913, 0x8914, 1


class Stage:
    """What one FROM begins: a root file system and what has been said of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env: dict[str, str] = {}
        self.workdir = "/"
        self.user = "0:0"
        self.said: dict[str, list[str]] = {}


def context() -> Path:
    """What is committed, as files."""
    place = PLACE / "context"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    tar = subprocess.run([*GIT, "archive", "HEAD"], cwd=TOP, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", place], input=tar, check=True)
    return place


def run(stage: Stage, script: str, log: Path) -> None:
    """RUN. Raises Failed."""
    lend_certificates(stage.root)
    line = [*line_in(stage.root, "root", "/root", **stage.env), "sh", "-ec", f"cd {stage.workdir}; {script}"]
    with log.open("ab") as file:
        file.write(f"\n$ {script}\n".encode())
        file.flush()
        status = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=file, stderr=file).returncode
    if status:
        raise Failed(f"exit status {status} of {script}; see {log}")


def copy(stage: Stage, value: str, stages: dict[str, Stage], files: Path) -> None:
    """COPY [--from=STAGE] SOURCE... TARGET."""
    words = shlex.split(value)
    origin = files
    if words[0].startswith("--from="):
        origin = stages[words.pop(0).removeprefix("--from=")].root
    *sources, target = words
    place = stage.root / os.path.join(stage.workdir, target).lstrip("/")
    for source in (origin / word.lstrip("/") for word in sources):
        if source.is_dir():
            shutil.copytree(source, place, symlinks=True, dirs_exist_ok=True)
        else:
            (place if target.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place)


def build(stages: dict[str, Stage], roots: contextlib.ExitStack) -> Stage:
    """Every step of the Dockerfile. Raises Failed."""
    files, log, stage = context(), PLACE / "build.log", None
    log.unlink(missing_ok=True)
    for step in DockerfileParser(path=str(TOP / "Dockerfile")).structure:
        name, value = step["instruction"], step["value"]
        if name == "COMMENT":
            continue
        if name == "FROM":
            match = re.fullmatch(r"debian:(\w+)-slim(?: AS (\w+))?", value)
            if match is None:
                raise Failed(f"FROM {value} is no debian:SUITE-slim")
            base = make_base(PLACE / match[1], match[1], "")
            stage = Stage(roots.enter_context(copied(base, match[2] or "image")))
            stages[match[2] or "image"] = stage
            continue
        assert stage is not None
        print(f"{name} {value}"[:110], flush=True)
        match name:
            case "RUN":
                run(stage, value, log)
            case "COPY":
                copy(stage, value, stages, files)
            case "ENV":
                stage.env.update(word.split("=", 1) for word in shlex.split(value))
            case "ARG":
                key, _, default = value.partition("=")
                stage.env[key] = default.strip('"')
                if key == ARCHIVE and ARCHIVE in os.environ:
                    shutil.copy(os.environ[ARCHIVE], stage.root / "tmp" / "liburing.tar.gz")
                    stage.env[key] = "/tmp/liburing.tar.gz"
            case "WORKDIR":
                stage.workdir = value
                (stage.root / value.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "USER":
                stage.user = value
            case "ENTRYPOINT" | "CMD":
                stage.said[name] = json.loads(value)
            case "HEALTHCHECK":
                stage.said[name] = json.loads(value.partition(" CMD ")[2])
            case "EXPOSE":
                pass
            case _:
                raise Failed(f"tools/try_image.py does not know {name}")
    assert stage is not None
    return stage


def inside(stage: Stage, words: list[str], **env: str) -> list[str]:
    """A command as the USER of the image, who has no rights and can get none."""
    user, _, group = stage.user.partition(":")
    drop = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"]
    drop += ["--bounding-set=-all", "--inh-caps=-all"]
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    variables = [f"{name}={value}" for name, value in {**stage.env, **env}.items()]
    return ["chroot", str(stage.root), *drop, "env", "-i", path, *variables, *words]


def alone_on_loopback() -> None:
    """A network namespace of its own for this process and its children, with loopback up. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket() as any_socket:
        request = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sh14x", b"lo", 0))
        flags = struct.unpack("16sh14x", request)[1] | IFF_UP
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags))


def serve(stage: Stage, **env: str) -> None:
    """The server of the image: its health check, a page, its end. Raises Failed."""
    words = stage.said["ENTRYPOINT"] + stage.said["CMD"]
    started = time.monotonic()
    server = subprocess.Popen(inside(stage, words, **env))
    try:
        while subprocess.run(inside(stage, stage.said["HEALTHCHECK"]), capture_output=True).returncode:
            if server.poll() is not None or time.monotonic() > started + WAIT_S:
                raise Failed(f"{words} {env}: not healthy; exit status {server.poll()}")
        took = time.monotonic() - started
        with urllib.request.urlopen(f"http://127.0.0.1:{stage.env['ZCHTTPD_PORT']}/") as reply:
            if reply.read() != PAGE:
                raise Failed(f"{words} {env}: another page than was put there")
        server.terminate()
        if server.wait(WAIT_S):
            raise Failed(f"{words} {env}: exit status {server.returncode} after SIGTERM")
        print(f"healthy after {took:.2f} s, served, ended with 0", flush=True)
    finally:
        server.kill()


def size_mib(root: Path) -> int:
    """What a root file system takes, without what apt keeps of packages, which an image does not."""
    command = ["du", "-sxm", "--exclude=*.deb", "--exclude=*pkgcache.bin", root]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0])


def main() -> int:
    """Build, and run."""
    if (status := alone("image")) is not None:
        return status
    PLACE.mkdir(parents=True, exist_ok=True)
    stages: dict[str, Stage] = {}
    try:
        with contextlib.ExitStack() as roots:
            stage = build(stages, roots)
            whole, base = size_mib(stage.root), size_mib(stage.root.parent / "base")
            print(f"the image has {whole - base} MiB more than its base, which has {base}", flush=True)
            (stage.root / "srv/www/index.html").write_bytes(PAGE)
            subprocess.run(["mount", "--rbind", stage.root, stage.root], check=True)
            roots.callback(subprocess.run, ["umount", "--recursive", "--lazy", stage.root])
            subprocess.run(["mount", "-o", "remount,bind,ro", stage.root], check=True)
            alone_on_loopback()
            serve(stage)
            serve(stage, ZCHTTPD_ENGINE="portable")
    except Failed as err:
        print(err)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
