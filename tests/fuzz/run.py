"""Run the fuzzers; what they learn goes to build/fuzz, and so does the input of a failure.

`--keep` runs none: the smallest set of inputs that reaches the same code becomes the corpus that tests play.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
LEARNT = HERE.parents[1] / "build" / "fuzz"
INPUT_SIZE_MAX = 1024
KEPT_MAX = 100
FUZZ = "--fuzz"


def fuzz(name: str, arguments: list[str]) -> None:
    """Become libFuzzer, which ends this process."""
    import atheris

    # Some packages install their tests as a package of this name; ours is no package at all.
    tests = types.ModuleType("tests")
    tests.__path__ = [str(HERE.parent)]
    sys.modules["tests"] = tests
    with atheris.instrument_imports(include=["zchttpd", "h11", "tests"]):
        harness = importlib.import_module(f"tests.fuzz.{name}")
    # To merge, libFuzzer starts itself anew through a shell, by this name.
    atheris.Setup([" ".join(command(name)), *arguments], harness.check)
    atheris.Fuzz()


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, str(Path(__file__).resolve()), FUZZ, name, *arguments]


def learn(name: str, seconds: int) -> bool:
    """Whether that went without a failure."""
    learnt = LEARNT / name
    learnt.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={seconds}", f"-max_len={INPUT_SIZE_MAX}", "-timeout=10"]
    print(f"{name}: {seconds} s", flush=True)
    places = [f"-artifact_prefix={LEARNT}/{name}-", str(learnt), str(CORPUS / name)]
    return subprocess.run(command(name, *limits, *places), check=False).returncode == 0


def keep(name: str) -> None:
    """Replace the corpus of a fuzzer by the smallest that does as much: counted how often code runs, if that
    keeps to KEPT_MAX inputs, else only that it does.
    """
    kept, merged = CORPUS / name, LEARNT / f"{name}-merged"
    kept.mkdir(parents=True, exist_ok=True)
    for counters in (1, 0):
        shutil.rmtree(merged, ignore_errors=True)
        merged.mkdir(parents=True)
        places = [str(merged), str(kept), str(LEARNT / name)]
        subprocess.run(command(name, "-merge=1", f"-use_counters={counters}", *places), check=True)
        if len(os.listdir(merged)) <= KEPT_MAX:
            break
    shutil.rmtree(kept)
    kept.mkdir()
    for path in merged.iterdir():
        shutil.copy(path, kept / f"{path.name[:12]}.bin")
    print(f"{name}: {len(os.listdir(kept))} inputs")


def main() -> int:
    if sys.argv[1:2] == [FUZZ]:
        fuzz(sys.argv[2], sys.argv[3:])
    names = sorted(path.name for path in CORPUS.iterdir())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; all by default")
    parser.add_argument("--seconds", type=int, default=60, help="for each fuzzer")
    parser.add_argument("--keep", action="store_true")
    chosen = parser.parse_args()
    unknown = set(chosen.names) - set(names)
    if unknown:
        parser.error(f"no such fuzzer: {', '.join(sorted(unknown))}. There are {', '.join(names)}")
    failed = []
    for name in chosen.names or names:
        if chosen.keep:
            keep(name)
        elif not learn(name, chosen.seconds):
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}; the inputs are build/fuzz/NAME-crash-*", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
