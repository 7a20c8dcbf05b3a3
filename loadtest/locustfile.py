"""`locust -f loadtest/`: does zero copy pay here, where, and what does it cost?

Without --host it starts zchttpd itself on loopback, in zerocopy, plain and portable mode, and lets the same
users do the same to each of them, request by request; with --host or --targets it tests servers that already
run. Every byte is checked. At the end it writes one HTML report below results/ and says the verdict in words.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from locust import LoadTestShape, events

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure.options import size
from rig import session
from rig.shapes import SHAPES, users_at
from rig.users import Aborter, Browser, Downloader, Seeker, SlowReader

if TYPE_CHECKING:
    from typing import Any

    from locust.argument_parser import LocustArgumentParser
    from locust.env import Environment

__all__ = ["Aborter", "Browser", "Downloader", "Seeker", "SlowReader"]

RUN_S = 120
USERS = 50


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    group = parser.add_argument_group("zchttpd", "What is tested, and how the load changes")
    add = group.add_argument
    add(
        "--shape",
        choices=("", *SHAPES),
        default="",
        env_var="LOADTEST_SHAPE",
        help="ramp, spike or soak up to -u users within -t seconds (default: -u users all the time)",
    )
    add(
        "--modes",
        default="zerocopy,plain,portable",
        env_var="LOADTEST_MODES",
        metavar="LIST",
        help="servers to start when there is no --host (default: zerocopy,plain,portable)",
    )
    add(
        "--targets",
        default="",
        env_var="LOADTEST_TARGETS",
        metavar="NAME=H:P/H:P,...",
        help="servers that already run: where files are served, and after the slash the admin listener",
    )
    add(
        "--target-admin",
        default="",
        env_var="LOADTEST_TARGET_ADMIN",
        metavar="H:P",
        help="the admin listener of the server named by --host",
    )
    add(
        "--paths",
        default="/",
        env_var="LOADTEST_PATHS",
        metavar="/A,/B",
        help="what to ask of a running server without a generated tree (default: / and its links)",
    )
    add(
        "--large",
        type=size,
        default=64 * 2**20,
        env_var="LOADTEST_LARGE",
        metavar="SIZE",
        help="the largest generated download (default: 64M)",
    )
    add("--results", default="results", env_var="LOADTEST_RESULTS", metavar="DIR",
        help="where the report's folder is made (default: results)")  # fmt: skip


@events.init.add_listener
def begin(environment: Environment, web_ui: Any = None, **_: object) -> None:
    made = session.begin(environment)
    if environment.parsed_options.shape and not made.is_worker:
        environment.shape_class = make_shape(environment)
    if web_ui is not None:

        @web_ui.app.route("/zchttpd-report")
        def report() -> tuple[str, int]:
            if made.last_report is None:
                return "No test has ended yet: stop one, then look here again.", 404
            return made.last_report.read_text(encoding="utf-8"), 200


def make_shape(environment: Environment) -> LoadTestShape:
    """A shape as the options say. Made here, for a class at module level would override -u and -r for
    everybody.
    """
    options = environment.parsed_options

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
