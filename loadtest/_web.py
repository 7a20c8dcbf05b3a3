"""What locust's web page lacks: no host to type, a given one is asked first; the verdict and the report."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Blueprint, Response, jsonify, request

from benchlib import CannotMeasure

if TYPE_CHECKING:
    from typing import Any

    from loadtest._run import Session

SCRIPT = Path(__file__).with_name("web.js")
# The field for a host is of use only where one was named when the program started.
NO_HOST = "<style>.MuiFormControl-root:has(input[name=host]) { display: none }</style>"


def extend(web_ui: Any, session: Session) -> None:
    """Add to locust's web interface before it begins to listen."""
    base = session.options.web_base_path or ""
    pages = Blueprint("zchttpd", __name__, url_prefix=base or None)
    guarded = web_ui.auth_required_if_enabled

    @pages.route("/zchttpd-report", endpoint="report")
    @guarded
    def report() -> tuple[str, int]:
        if session.last_report is None:
            return "No test has ended yet: stop one, then look here again.", 404
        return session.last_report.read_text(encoding="utf-8"), 200

    @pages.route("/zchttpd-state", endpoint="state")
    @guarded
    def state() -> Response:
        return jsonify(
            {
                "state": session.state,
                "modes": [each.mode for each in session.stage.targets] if session.stage else [],
                "own": session.stage.own if session.stage else False,
                "verdict": [asdict(each) for each in session.verdict],
                "report": str(session.last_report or ""),
            }
        )

    @pages.route("/zchttpd.js", endpoint="script")
    @guarded
    def script() -> Response:
        return Response(SCRIPT.read_bytes(), mimetype="text/javascript")

    @web_ui.app.before_request
    def ask_host_first() -> Response | None:
        if request.path != f"{base}/swarm" or request.method != "POST":
            return None
        host = request.form.get("host", "")
        try:
            session.choose(host)
        except CannotMeasure as error:
            return jsonify({"success": False, "message": str(error), "host": host})
        return None

    @web_ui.app.after_request
    def add_verdict(response: Response) -> Response:
        if request.path == f"{base}/" and response.mimetype == "text/html" and response.status_code == 200:
            hidden = "" if session.options.host else NO_HOST
            added = f'{hidden}<script type="module" src="zchttpd.js"></script></body>'
            response.set_data(response.get_data(as_text=True).replace("</body>", added))
        return response

    web_ui.app.register_blueprint(pages)
    update = web_ui.update_template_args

    def update_without_warning() -> None:
        # The users ask the servers of the stage, whatever host their classes have.
        update()
        web_ui.template_args["missing_host_warning"] = False

    web_ui.update_template_args = update_without_warning
