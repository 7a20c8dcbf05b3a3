"""`locust -f loadtest/`: does zero copy pay here, where, and what does it cost?

Without --host it starts zchttpd itself on loopback, in zerocopy, plain and portable mode, and lets the same
users do the same to each of them, request by request; with --host or --targets it tests servers that already
run. Every byte is checked. At the end it writes one HTML report below results/ and says the verdict in words.
"""

from __future__ import annotations

import argparse
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from locust import LoadTestShape, events

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchlib import CannotMeasure, say
from benchlib.options import names_of
from benchlib.payload import MIB, parse_size
from benchlib.report import render
from benchlib.server import free_port
from loadtest import _cost as cost
from loadtest import _run as session
from loadtest import _web as web
from loadtest._shapes import SHAPES, users_at
from loadtest._site import write_tree
from loadtest._targets import MODES
from loadtest._users import Aborter, Browser, Downloader, Seeker, SlowReader

if TYPE_CHECKING:
    from typing import Any

    from locust.argument_parser import LocustArgumentParser
    from locust.env import Environment

__all__ = ["Aborter", "Browser", "Downloader", "Seeker", "SlowReader"]

RUN_S = 120
USERS = 50
# Whoever reaches the web interface can put load on any host: others only if --web-host says so.
WEB_HOST = "127.0.0.1"


def large_size(text: str) -> int:
    """argparse type of --large."""
    found = parse_size(text)
    if found < MIB:
        raise argparse.ArgumentTypeError(f"{text!r} is too small for a large download; 1M is the least")
    return found


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def choose_addresses(parser: LocustArgumentParser) -> None:
    """This machine only, and other ports where another run has locust's own; what the user names stays."""
    parser.set_defaults(web_host=WEB_HOST)
    if not is_free(parser.get_default("web_port")):
        parser.set_defaults(web_port=free_port())
    forks = any(word.split("=")[0] == "--processes" for word in sys.argv)
    if forks and not {"--worker", "--master"} & set(sys.argv):
        port = free_port()
        parser.set_defaults(master_port=port, master_bind_port=port)


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    choose_addresses(parser)
    group = parser.add_argument_group("zchttpd", "What is tested, and how the load changes")

    def add(name: str, words: str, **more: Any) -> None:
        # All of it is decided when the program starts, so the web interface does not ask for it.
        group.add_argument(name, help=words, **more).include_in_web_ui = False

    def setting(name: str, default: Any, metavar: str, words: str, **more: Any) -> None:
        variable = f"LOADTEST_{name[2:].upper().replace('-', '_')}"
        add(name, words, default=default, env_var=variable, metavar=metavar, **more)

    words = "ramp, spike or soak up to -u users within -t seconds (default: -u users all the time)"
    setting("--shape", "", "SHAPE", words, choices=("", *SHAPES))
    words = f"servers to start when there is no --host (default: {','.join(MODES)})"
    setting("--modes", MODES, "LIST", words, type=names_of("mode", MODES))
    words = "servers that already run: where files are served, and after the slash the admin listener"
    setting("--targets", "", "NAME=H:P/H:P,...", words)
    setting("--target-admin", "", "H:P", "the admin listener of the server named by --host")
    words = "what to ask of a running server without a generated tree (default: / and its links)"
    setting("--paths", "/", "/A,/B", words)
    words = "the largest generated download (default: 64M)"
    setting("--large", 64 * MIB, "SIZE", words, type=large_size)
    setting("--results", "results", "DIR", "where the report's folder is made (default: results)")
    words = "only write the generated files, into a new folder, for servers on another machine"
    add("--write-tree", words, default="", metavar="DIR")
    words = "only measure what the load client itself can do per second of a core, beside FastHttpUser"
    add("--client-cost", words, action="store_true")
    # Locust's own --help is answered before it has read this file.
    add("--help-all", "say what all options are, these too, and end", action="help")


@events.init.add_listener
def begin(environment: Environment, web_ui: Any = None, **_: object) -> None:
    do_and_leave(environment)
    made = session.begin(environment)
    if made.options.shape and not made.is_worker:
        environment.shape_class = make_shape(environment)
    if web_ui is not None:
        web.extend(web_ui, made)
        if not is_free(web_ui.port):
            # Another run began at the same moment.
            web_ui.port = free_port()
            say(f"the web interface is on port {web_ui.port}, as the one above has been taken meanwhile")


def do_and_leave(environment: Environment) -> None:
    """What the options ask for in place of a test, if anything."""
    options: Any = environment.parsed_options
    try:
        if options.write_tree:
            print(write_tree_for_others(Path(options.write_tree), options.large))
        elif options.client_cost:
            print(cost.measure(environment, say))
        else:
            return
    except (CannotMeasure, OSError) as error:
        say(f"loadtest: {error}")
        sys.exit(1)
    sys.exit(0)


def write_tree_for_others(folder: Path, large: int) -> str:
    """Write the tree into `folder`; say how to serve it. Raises CannotMeasure when something is in it."""
    if folder.exists() and any(folder.iterdir()):
        raise CannotMeasure(f"--write-tree: {folder} is not empty; name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_tree(folder, say, large=large)
    return render("write_tree.txt.j2", folder=folder)


def make_shape(environment: Environment) -> LoadTestShape:
    """A shape as the options say. Made here, for a class at module level would override -u and -r for
    everybody.
    """
    options: Any = environment.parsed_options

    class Shape(LoadTestShape):
        use_common_options = True

        def tick(self) -> tuple[int, float] | None:
            run_s = options.run_time or RUN_S
            at = self.get_run_time() / run_s
            if at >= 1:
                return None
            users = users_at(options.shape, at, options.num_users or USERS)
            return users, options.spawn_rate or max(1.0, users / 2)

    shape = Shape()
    shape.runner = environment.runner
    return shape
