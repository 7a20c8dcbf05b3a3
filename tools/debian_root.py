"""Minimal Debian root file systems, made by debootstrap, to try things where nothing lies ready.

Nothing is cached in them, neither Debian's packages nor Python's. Of this machine they get only the way to
the package registries: proxies, indexes, certificates. What goes on in them is in namespaces of its own for
mounts and processes, which end with the program that began it, however that ends. All of this wants root.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = Path(__file__).resolve().parents[1]
# The clone may be another user's than root's.
GIT = ("git", "-c", f"safe.directory={TOP}")
SYSTEM_CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")

# What pip and others need to get through to the registries; never where something lies ready on this machine.
PASSED = ("index_url", "extra_index_url", "cert", "proxy", "trusted_host", "default_timeout", "retries")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


class Failed(Exception):
    """A step did not go well; the text says which and what to look at."""


def output(*command: str) -> str:
    """What a command of this machine prints; empty where there is no such command or it fails."""
    with contextlib.suppress(OSError):
        return subprocess.run(command, cwd=TOP, capture_output=True, text=True).stdout
    return ""


def settings() -> dict[str, str]:
    """The environment inside: pip without a cache, and with this machine's way to its index."""
    env = {name: os.environ[name] for name in (*PROXIES, *CERTIFICATES) if name in os.environ}
    for line in output(sys.executable, "-m", "pip", "config", "list").splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2].replace("-", "_")
        value = " ".join(each for each in value.strip("'").split() if not each.startswith("file:"))
        if name in PASSED and value:
            env[f"PIP_{name.upper()}"] = value
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {**env, "PATH": path, "PIP_NO_CACHE_DIR": "1"}


def mirror() -> list[str]:
    """The Debian mirror that this machine's apt uses, where it has one; debootstrap knows another."""
    target = ("Created-By: Packages", "Origin: Debian", "Label: Debian", "Component: main")
    return output("apt-get", "indextargets", "--format", "$(REPO_URI)", *target).split()[:1]


def make_base(place: Path, suite: str, packages: str) -> Path:
    """A minimal root file system with these packages, `place`/base, made once. Raises Failed."""
    base = place / "base"
    made = place / "made"
    if made.exists() and made.read_text() == packages:
        return base
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir(parents=True)
    log = place / "debootstrap.log"
    include = [f"--include={packages}"] if packages else []
    command = ["debootstrap", "--variant=minbase", *include, suite, str(base), *mirror()]
    with log.open("w") as file:
        if subprocess.run(command, stdout=file, stderr=file).returncode:
            raise Failed(f"debootstrap failed; see {log}")
    for left in (base / "var/cache/apt/archives").glob("*.deb"):
        left.unlink()
    for left in (base / "var/lib/apt/lists").glob("*_*"):
        left.unlink()
    kept = ("Acquire::http", "Acquire::Check-")
    lines = [line for line in output("apt-config", "dump", "Acquire").splitlines() if line.startswith(kept)]
    (base / "etc/apt/apt.conf.d/99fresh").write_text("".join(f"{line}\n" for line in lines))
    lend_certificates(base)
    made.write_text(packages)
    return base


def lend_certificates(root: Path) -> None:
    """The certificates that this machine trusts, where it has some."""
    if (Path("/") / SYSTEM_CERTIFICATES).exists():
        (root / SYSTEM_CERTIFICATES).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path("/") / SYSTEM_CERTIFICATES, root / SYSTEM_CERTIFICATES)


@contextlib.contextmanager
def copied(base: Path, name: str) -> Iterator[Path]:
    """A copy of a root file system, mounted what a system has; removed in the end."""
    root = base.parent / name
    subprocess.run(["rm", "-rf", "--one-file-system", root], check=True)
    subprocess.run(["cp", "-a", "--reflink=auto", base, root], check=True)
    mounts = [("proc", "-t", "proc", "proc"), ("dev", "--rbind", "/dev"), ("sys", "--rbind", "/sys")]
    for name, *how in mounts:
        subprocess.run(["mount", *how, root / name], check=True)
    try:
        yield root
    finally:
        for name, *_ in mounts:
            subprocess.run(["umount", "--recursive", "--lazy", root / name])
        subprocess.run(["rm", "-rf", "--one-file-system", root])


def bundle_into(root: Path) -> None:
    """What is committed here, to clone from as /tmp/zchttpd.bundle."""
    bundle = root / "tmp" / "zchttpd.bundle"
    subprocess.run([*GIT, "bundle", "create", "--quiet", bundle, "HEAD"], cwd=TOP, check=True)
    bundle.chmod(0o644)


def line_in(root: Path, user: str, home: str, **env: str) -> list[str]:
    """The beginning of a command line for a user of a root file system, with `settings()`."""
    env = {**settings(), "HOME": home, "USER": user, **env}
    variables = [f"{name}={value}" for name, value in env.items()]
    return ["chroot", f"--userspec={user}", str(root), "env", "-i", *variables]


def alone(target: str) -> int | None:
    """Run this program again in namespaces of its own, and end what is in them with it; None there.

    `target` is the one of the Makefile that leads here.
    """
    if os.geteuid():
        print(f"chroot and mount want root. Type: sudo make {target}", file=sys.stderr)
        return 1
    if os.getpid() == 1:
        return None
    inside = [
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        sys.executable,
        sys.argv[0],
    ]
    child = subprocess.Popen([*inside, *sys.argv[1:]])
    signal.signal(signal.SIGTERM, lambda *_: child.kill())
    while True:
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is for the one inside, which cleans up
            return child.wait()
