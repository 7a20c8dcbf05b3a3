"""The command `zchttpd`."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from zchttpd import __version__
from zchttpd.config.load import read, without_effect
from zchttpd.config.options import Group, SettingsError, StartError, flag_of, nearest, problem_of
from zchttpd.config.settings import OPTIONS, default_text
from zchttpd.telemetry import log

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zchttpd.config.load import Given
    from zchttpd.config.options import Option
    from zchttpd.config.settings import Settings

EXIT_USAGE = 2
TOP_URL = "127.0.0.1:9100"
EXIT_INTERRUPTED = 130  # as a shell has it, 128 and SIGINT
EXIT_UNREAD = 141  # the same, and SIGPIPE

_DESCRIPTION = """\
Serve the files of a directory over HTTP/1.1, without copying their bytes where the kernel can.

  zchttpd www/                                   serve www/ at http://127.0.0.1:8080; the same as --root www/
  zchttpd www/ --admin 127.0.0.1:9100            and metrics at http://127.0.0.1:9100/metrics
  zchttpd www/ --host 0.0.0.0 --workers auto     to other machines, with one worker on each CPU
  zchttpd --config site.toml                     with the options of a file
  zchttpd doctor                                 what this machine allows, and what to do about the rest
  zchttpd doctor --path 192.0.2.7:22             whether bytes to there leave without a copy, by sending some
  zchttpd manifest www/                          write www/SHA256SUMS, as sha256sum does; --check: compare
  zchttpd top 127.0.0.1:9100                     what the metrics there say, as it happens
"""

_EPILOG = """\
Sizes take K, M or G. Every option is also an environment variable (--send-mode: ZCHTTPD_SEND_MODE) and a key
of the TOML file of --config (send-mode = "plain"). The command line wins, then the environment. What may be
typed several times is one line each in the environment and a list in the file. A switch is on or off, in the
file true or false. An empty variable counts as one that is not set.
A PATTERN is a glob of the decoded path, where * matches / too; without a leading slash it may begin after
any slash.
SIGTERM and Ctrl-C finish the open responses and exit with 0; a second Ctrl-C stops at once. SIGHUP reads the
options again, and SIGUSR2 has a new version take over: no request fails, and what is wrong changes nothing.
The server leaves with its terminal; with nohup it stays.
"""


# What other servers call it, and who comes from them types.
_ELSEWHERE = {
    **dict.fromkeys(("-b", "--bind", "--address", "--addr", "--ip", "--interface"), "host"),
    **dict.fromkeys(("-d", "--dir", "--directory", "--docroot", "--document-root", "--path"), "root"),
    **dict.fromkeys(("-w", "-j", "--threads", "--processes", "--jobs"), "workers"),
    **dict.fromkeys(("--gzip", "--brotli", "--br", "--zstd"), "compress"),
    **dict.fromkeys(("--index", "--autoindex", "--browse"), "listing"),
    **dict.fromkeys(("--cache", "--max-age", "--expires"), "cache_control"),
    **dict.fromkeys(("--metrics", "--stats"), "admin"),
    **dict.fromkeys(("--single", "--fallback"), "spa"),
    **dict.fromkeys(("--rewrite", "--rewrites", "--redirect"), "redirects"),
    **dict.fromkeys(("--cert", "--certfile", "--ssl-cert", "--ssl-certfile", "--tls", "--https"), "tls_cert"),
    **dict.fromkeys(("--key", "--keyfile", "--ssl-key", "--ssl-keyfile"), "tls_key"),
    "-p": "port",
    "-c": "config",
    "-l": "listing",
    "--headers": "header",
    "--socket": "unix",
    **dict.fromkeys(("--proxy", "--proxy-protocol", "--accept-proxy"), "listen"),
}


CHECK_HELP = "print the effective options, as a file for --config, or what is wrong with them; serve nothing"

# Of the doctor alone: the word for the value, "" for a switch, and the help.
DOCTOR_OPTIONS = {
    "--path": ("HOST[:PORT]", "of doctor: tell whether bytes to there leave without a copy, by sending some"),
    "--json": ("", "of doctor: everything as JSON"),
    "--seccomp": ("", "of doctor: print a seccomp profile for containers that allows what zchttpd needs"),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        found = re.match(r"argument --([a-z-]+): (expected|ignored explicit argument)", message)
        if found:
            message = _wrong_number(found[1].replace("-", "_"), found[2] == "expected")
        hint = "" if ". " in message else ". Type zchttpd --help for the options"
        log.complain(message + hint)
        sys.exit(EXIT_USAGE)


def _wrong_number(name: str, lacks: bool) -> str:
    """The error for an option without its value, or for a switch with one."""
    flag = flag_of(name)
    if name not in OPTIONS or not lacks:
        return f"{flag} takes no value. Type {flag} alone, or leave it out"
    option = OPTIONS[name]
    needs = "a value" if option.words == 1 else f"{option.words} values"
    metavar = "|".join(option.choices) or option.metavar
    example = option.example or default_text(name)
    return f"{flag} needs {needs}: {metavar}. Type such as {flag} {example}, or zchttpd --help"


def _unknown(extra: Sequence[str], command: str) -> str:
    """The error for words that are neither options nor their values."""
    message = f"unrecognized arguments: {' '.join(extra)}"
    flag = next((word.partition("=")[0] for word in extra if word.startswith("-")), "")
    if flag:
        flags = {flag_of(name) for name in OPTIONS} | {"--help", "--version"}
        meant = flag_of(_ELSEWHERE[flag]) if flag in _ELSEWHERE else nearest(flag, sorted(flags))
        return f"{message}. Did you mean {meant}? Type zchttpd --help for the options" if meant else message
    if command:
        return f"{message}. One directory is served, and {command!r} is one already"
    return message


def _help_of(name: str, option: Option) -> str:
    default = default_text(name)
    return f"{option.help} (default {default})" if default else option.help


def _add(section: argparse._ArgumentGroup, name: str, option: Option) -> None:
    flag, text = flag_of(name), _help_of(name, option).replace("%", "%%")
    if option.switch:
        section.add_argument(flag, dest=name, action="store_const", const="on", help=text)
        return
    metavar = "|".join(option.choices) or option.metavar
    action = "append" if option.many else "store"
    if option.words == 1:
        section.add_argument(flag, dest=name, metavar=metavar, action=action, help=text)
    else:
        words = tuple(metavar.split(" ", option.words - 1))
        section.add_argument(flag, dest=name, metavar=words, action=action, nargs=option.words, help=text)


def _join(name: str, typed: str | list[str] | list[list[str]]) -> str:
    """One text of everything that was typed for an option. Raises SettingsError."""
    if isinstance(typed, str):
        return typed
    option = OPTIONS[name]
    for words in typed:
        # Joined, the first word of a name with a blank would pass for one more word of the pattern.
        if not isinstance(words, str) and ":" in words[1] and not re.match(r"\S+\s*:", words[1]):
            raise SettingsError(
                name, f"{flag_of(name)}: {words[1]!r} is not 'Name: value'. Type such as {option.example}"
            )
    texts = [text if isinstance(text, str) else " ".join(text) for text in typed]
    for text in texts:
        if option.separator == "\n" and not text.isprintable():
            raise SettingsError(
                name, f"{flag_of(name)}: {text!r} is not one line. Type visible characters only"
            )
    return option.separator.join(texts)


def build_parser() -> argparse.ArgumentParser:
    """A parser that only collects texts, one for each option typed; `config.load` reads them."""
    parser = _Parser(
        prog="zchttpd",
        usage="zchttpd DIR [options] | zchttpd doctor [options] | zchttpd manifest DIR | zchttpd top [URL]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
            prog, max_help_position=32, width=110
        ),
        allow_abbrev=False,
        add_help=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("command", nargs="?", default="", help=argparse.SUPPRESS)
    for group in Group:
        section = parser.add_argument_group(group.value)
        for name, option in OPTIONS.items():
            if option.group is group:
                _add(section, name, option)
        if group is Group.DIAGNOSIS:
            for flag, (metavar, text) in DOCTOR_OPTIONS.items():
                if metavar:
                    section.add_argument(flag, metavar=metavar, help=text)
                else:
                    section.add_argument(flag, action="store_true", help=text)
            section.add_argument("--check", action="store_true", help=CHECK_HELP)
            section.add_argument(
                "--version", action="version", version=f"zchttpd {__version__}", help="print the version"
            )
            section.add_argument("-h", "--help", action="help", help="print this help")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 stopped as asked, 1 could not start, 2 wrong usage."""
    log.open_streams()
    try:
        return _run(arguments)
    except BrokenPipeError:
        # Of what is printed at once, as into head(1), the rest is not wanted.
        return EXIT_UNREAD
    finally:
        log.flush()


def _doctor(settings: Settings, *, path: str = "", json: bool = False, seccomp: bool = False) -> int:
    """Print what was asked for. Raises SettingsError."""
    # What it imports is of no use to a server that starts.
    from zchttpd.process import doctor, doctor_path, findings
    from zchttpd.process.seccomp import profile

    if seccomp:
        print(profile(), flush=True)
        return 0
    if path:
        found, outcome = doctor_path.examine(doctor_path.read_target(path))
        more = {"path": path, "outcome": outcome.name.lower()}
        print(findings.as_json(found, **more) if json else findings.as_text(found), flush=True)
        return outcome.value
    found = doctor.examine(settings)
    print(findings.as_json(found) if json else findings.as_text(found), flush=True)
    return 0 if findings.well(found) else 1


def _manifest(words: Sequence[str]) -> int:
    """`zchttpd manifest`, and what is typed behind it."""
    parser = _Parser(
        prog="zchttpd manifest",
        description="Write SHA256SUMS of all that is served from a directory, or compare it with that.",
        epilog="Exit status: 0, or 1 where a file differs or cannot be read, as sha256sum has it.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="DIR", nargs="?", type=Path, help="the directory")
    parser.add_argument("--check", action="store_true", help="say which files differ from DIR/SHA256SUMS")
    typed = parser.parse_args(words)
    if typed.directory is None:
        parser.error("no directory was named. Type such as: zchttpd manifest www/")
    # What it imports is of no use to a server that starts.
    from zchttpd.process import manifest

    try:
        return manifest.run(typed.directory, checking=typed.check)
    except OSError as error:
        fix = "Type first: zchttpd manifest DIR" if typed.check else "Type a directory that can be read"
        log.complain(f"{os.fsdecode(error.filename or typed.directory)}: {error.strerror}. {fix}")
        return 1
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _top(words: Sequence[str]) -> int:
    """`zchttpd top`, and what is typed behind it."""
    parser = _Parser(
        prog="zchttpd top",
        description="Show what the metrics of a server say, as it happens. q quits.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "url", metavar="URL", nargs="?", default=TOP_URL, help=f"its --admin (default {TOP_URL})"
    )
    parser.add_argument("--token-file", metavar="PATH", default="", help="that of its --admin-token-file")
    parser.add_argument("--interval", metavar="S", type=float, default=1.0, help="seconds (default 1)")
    parser.add_argument("--once", action="store_true", help="print one picture, of one interval")
    typed = parser.parse_args(words)
    if not 0.1 <= typed.interval <= 3600:
        parser.error(f"--interval: {typed.interval:g} is not from 0.1 to 3600. Type seconds, such as 1")
    try:
        # What it imports is of no use to a server that starts.
        from zchttpd.telemetry import top
    except ImportError:
        parser.error("top needs another package. Type: pip install rich")
    from zchttpd.telemetry.admin_access import read_token
    from zchttpd.telemetry.figures import Source

    try:
        token = read_token(typed.token_file, "--token-file") if typed.token_file else b""
        top.run(Source(typed.url, token), typed.interval, once=typed.once)
        return 0
    except (StartError, top.Unreadable) as error:
        log.complain(str(error))
        return 1
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _run(arguments: Sequence[str] | None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] in (["manifest"], ["top"]):
        return (_manifest if words[0] == "manifest" else _top)(words[1:])
    parser = build_parser()
    known, extra = parser.parse_known_args(words)
    typed = vars(known)
    command = typed.pop("command")
    asked = {flag: typed.pop(flag.strip("-")) for flag in DOCTOR_OPTIONS if flag.strip("-") in typed}
    if command != "doctor":
        extra = [*asked, *extra]
    if extra:
        parser.error(_unknown(extra, command))
    if command not in ("", "doctor"):
        if "root" in typed:
            parser.error(f"two directories: {command!r} and --root {shlex.quote(typed['root'])}. Type one")
        typed["root"] = command
    return _carry_out(command, typed, {flag.strip("-"): value for flag, value in asked.items()})


def _carry_out(command: str, typed: dict[str, Any], asked: dict[str, Any]) -> int:
    """Read what was typed, and do it."""
    check = typed.pop("check", False)
    try:
        texts = {name: _join(name, each) for name, each in typed.items()}
        if command == "doctor":
            from zchttpd.process.memory_limit import fit, memory_limit

            settings, _ = fit(read({"root": ".", **texts}, os.environ), memory_limit())
            return _doctor(settings, **asked)
        given, notes = _read(texts)
        if check:
            from zchttpd.process.checks import check_files

            check_files(given.settings)
    except (SettingsError, StartError) as error:
        log.complain(problem_of(error))
        return EXIT_USAGE
    if check:
        from zchttpd.config.shown import as_toml

        print(as_toml(given, notes), flush=True)
        return 0
    # Only now: what it imports is of no use to doctor either.
    from zchttpd.process.supervisor import run

    def reread() -> tuple[Settings, list[str]]:
        given, notes = _read(texts)
        return given.settings, notes

    return run(given.settings, notes, reread=reread)


def _read(texts: Mapping[str, str]) -> tuple[Given, list[str]]:
    """What was typed, with the environment, the file of --config and this machine; and lines for the start
    report. Raises SettingsError.
    """
    # Only now: what it imports is of no use to --help and --version.
    from zchttpd.process.checks import check_roots, check_secrets, check_user
    from zchttpd.process.memory_limit import fit, memory_limit

    given = read(texts, os.environ)
    settings, notes = fit(given, memory_limit())
    check_roots(settings)
    check_user(settings.user)
    check_secrets(settings)
    return replace(given, settings=settings), [*notes, *without_effect(settings, given.sources)]
