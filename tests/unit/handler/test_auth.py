"""Basic authentication, from head bytes to whole answers: who may have what, and what nobody keeps."""

from __future__ import annotations

import base64
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest

from zchttpd.config.auth import parse_auth_rules
from zchttpd.config.redirects import parse_redirects
from zchttpd.config.rules import CacheRule
from zchttpd.config.settings import Settings
from zchttpd.files.singleflight import Job
from zchttpd.handler.answer import Cacheable
from zchttpd.handler.handler import Handler

from .test_handler import ask, head_of, put
from .test_site import serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SALT = bcrypt.gensalt(4)
LONG = "x" * 72


def basic(user: str, password: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


ANN = basic("ann", "secret")


@pytest.fixture
def www(tmp_path: Path) -> Path:
    root = tmp_path / "www"
    for name in ("index.html", "private/index.html", "private/a.txt", "open/a.txt", "page.html"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        put(root / name, f"this is {name}".encode())
    return root


def rules(tmp_path: Path, *patterns: str) -> dict[str, Any]:
    users = tmp_path / "users"
    pairs = (("ann", "secret"), ("b:b".replace(":", " "), "p:w"), ("long", LONG))
    users.write_bytes(b"".join(b"%b:%b\n" % (u.encode(), bcrypt.hashpw(p.encode(), SALT)) for u, p in pairs))
    return {"auth": parse_auth_rules("\n".join(f"{each}={users}" for each in patterns or ("/private/*",)))}


@pytest.mark.parametrize(
    "field",
    [
        "X: y",
        "Authorization: Basic",
        "Authorization: Basic !!!!",
        "Authorization: Basic YW5u",  # no colon
        "Authorization: Bearer YW5uOnNlY3JldA==",
        basic("ann", "Secret"),
        basic("ann", ""),
        basic("Ann", "secret"),
        basic("bob", "secret"),
        basic("ann", "secret\0"),
        basic("ann\0", "secret"),
        basic("ann", "s" * 2000),
        basic("long", LONG + "y"),
        f"{ANN}\r\n{ANN}",
        f"{basic('ann', 'x')}\r\n{ANN}",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_lacks_the_password_is_asked_for_it(www: Path, tmp_path: Path, field: str, method: str) -> None:
    with serving(www, **rules(tmp_path)) as (handler, _):
        for target in ("/private/a.txt", "/private/", "/private/none", "/%70rivate//./a.txt?x"):
            answer, received = ask(handler, target, field, method=method)
            assert answer.status == 401
            assert received["www-authenticate"] == 'Basic realm="files 1", charset="UTF-8"'
            assert not answer.cacheable
            assert answer.template is None
            assert received["etag"] is None
            assert b"this is" not in received.body


def test_nothing_is_looked_at_for_who_lacks_the_password(
    www: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for a tag, a digest or a zip learns that there is something, and has it read."""

    def look(*_: object) -> None:
        pytest.fail("a stranger has had a path looked at")

    with serving(www, zip=True, **rules(tmp_path, "/private/a*", "/private/*")) as (handler, cache):
        with monkeypatch.context() as patched:
            patched.setattr(cache, "lookup", look)
            for target in (
                "/private/a.txt",
                "/private/b",
                "/private/?zip",
                "/private/",
                "/none/../private/a",
            ):
                for field in ("X: y", basic("ann", "x"), "Authorization: Basic"):
                    more = ('If-Match: "x"', "Want-Repr-Digest: sha-256=9", field)
                    assert ask(handler, target, *more)[0].status == 401
        assert ask(handler, "/private/a.txt", ANN)[0].status == 200


def test_no_template_of_what_is_open_answers_what_is_not(www: Path, tmp_path: Path) -> None:
    for folder in ("open", "private"):
        # Of now: a time that was set makes no template.
        (www / folder / "now.txt").write_bytes(b"now")
    with serving(www, **rules(tmp_path)) as (handler, _):
        for _ in range(2):
            assert ask(handler, "/open/now.txt")[0].status == 200
        assert ask(handler, "/private/now.txt")[0].status == 401


@pytest.mark.parametrize(
    ("field", "user"),
    [
        (ANN, b"ann"),
        (ANN.replace("Authorization: Basic", "authorization:  bAsIc"), b"ann"),
        (basic("b b", "p:w"), b"b b"),
        (basic("long", LONG), b"long"),
    ],
)
def test_who_has_it_is_served_and_nobody_else_keeps_the_answer(
    www: Path, tmp_path: Path, field: str, user: bytes
) -> None:
    with serving(www, **rules(tmp_path)) as (handler, _):
        for _ in range(3):
            answer, received = ask(handler, "/private/a.txt", field)
            assert (answer.status, received.body) == (200, b"this is private/a.txt")
            assert (answer.caching, answer.user) == (Cacheable.ONE_USER, user)
            assert answer.template is None
            assert received["cache-control"] == "private"
        etag = received["etag"]
        assert ask(handler, "/private/a.txt", field, f"If-None-Match: {etag}")[0].status == 304
        assert ask(handler, "/private/a.txt", f"If-None-Match: {etag}")[0].status == 401
        assert ask(handler, "/private/a.txt", field, "Range: bytes=0-3")[1].body == b"this"
        assert ask(handler, "/private/none", field)[0].status == 404
        # What everybody may have is as it was.
        answer, received = ask(handler, "/open/a.txt", field)
        assert (answer.status, answer.user) == (200, b"")
        assert answer.cacheable
        assert received["cache-control"] is None


def test_a_file_is_guarded_by_whatever_path_it_is_sent(www: Path, tmp_path: Path) -> None:
    put(www / "page.html.br", b"compressed")
    lines = tmp_path / "_redirects"
    lines.write_text("/way/* /private/:splat 200\n")
    options = rules(tmp_path, "/page.html", "/private/*", "/index.html")
    options |= {"clean_urls": True, "spa": True, "redirects": parse_redirects(str(lines))}
    with serving(www, **options) as (handler, _):
        for target in ("/page", "/page.html", "/way/a.txt", "/way/", "/", "/route"):
            for method in ("GET", "HEAD"):
                # In whatever encoding.
                fields = ("Accept: text/html", "Sec-Fetch-Mode: navigate", "Accept-Encoding: br")
                assert ask(handler, target, *fields, method=method)[0].status == 401, target
                answer, _ = ask(handler, target, *fields, ANN, method=method)
                assert (answer.status, answer.caching) == (200, Cacheable.ONE_USER), target
        assert ask(handler, "/open/a.txt")[0].status == 200


def test_listings_of_what_is_guarded_are_too(www: Path, tmp_path: Path) -> None:
    (www / "private" / "index.html").unlink()
    with serving(www, listing=True, **rules(tmp_path)) as (handler, _):
        assert ask(handler, "/private/")[0].status == 401
        answer, received = ask(handler, "/private/", ANN)
        assert answer.caching is Cacheable.ONE_USER
        assert b"a.txt" in received.body
        assert received["cache-control"] == "private, no-cache"


def test_shared_caches_are_told_to_keep_nothing_whatever_the_options_say(www: Path, tmp_path: Path) -> None:
    caching = (CacheRule("*", "public, max-age=60, s-maxage=600, must-revalidate"),)
    with serving(www, cache_control=caching, **rules(tmp_path)) as (handler, _):
        _, received = ask(handler, "/private/a.txt", ANN)
        assert received["cache-control"] == "private, max-age=60, must-revalidate"


def test_the_first_rule_decides_who_may_have_it(www: Path, tmp_path: Path) -> None:
    options = rules(tmp_path, "/private/a.txt", "/private/*")
    other = tmp_path / "others"
    other.write_bytes(b"zoe:" + bcrypt.hashpw(b"pw", SALT))
    options["auth"] = (*options["auth"][:1], *parse_auth_rules(f"/private/*={other}"))
    with serving(www, **options) as (handler, _):
        assert ask(handler, "/private/a.txt", ANN)[0].status == 200
        answer, received = ask(handler, "/private/index.html", ANN)
        assert (answer.status, received["www-authenticate"]) == (
            401,
            'Basic realm="files 2", charset="UTF-8"',
        )
        assert ask(handler, "/private/index.html", basic("zoe", "pw"))[0].status == 200
        assert ask(handler, "/private/a.txt", basic("zoe", "pw"))[0].status == 401


@pytest.mark.parametrize(
    ("field", "status"), [(ANN, 200), (basic("ann", "x"), 401), (basic("eve", "x"), 401)]
)
def test_each_password_is_checked_once_and_any_name_costs_as_much(
    www: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, status: int
) -> None:
    costs: list[bytes] = []
    check = bcrypt.checkpw

    def counted(password: bytes, hashed: bytes) -> bool:
        costs.append(hashed[:7])
        return check(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    with serving(www, **rules(tmp_path)) as (handler, _):
        for target in ("/private/a.txt", "/private/", "/private/a.txt"):
            assert ask(handler, target, field)[0].status == status
    assert costs == [b"$2b$04$"]


def test_passwords_are_checked_beside_the_loop(www: Path, tmp_path: Path) -> None:
    posted: SimpleQueue[Callable[[], None]] = SimpleQueue()
    with serving(www, **rules(tmp_path)) as (_, cache):
        handler = Handler(Settings(root=www, **rules(tmp_path)), cache, None, posted.put)
        head = head_of("/private/a.txt", ANN)
        job = handler.answer(head, 0)
        assert isinstance(job, Job)
        assert handler.answer(head, 0) is job, "once, however many ask"
        told: list[OSError | None] = []
        job.waiting.append(told.append)
        posted.get(timeout=60)()
        assert told == [None]
        answer = handler.answer(head, 0)
        assert not isinstance(answer, Job)
        assert answer.status == 200


def test_when_too_many_passwords_wait_it_is_503(
    www: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("zchttpd.handler.auth.JOBS_MAX", 1)
    posted: SimpleQueue[Callable[[], None]] = SimpleQueue()
    with serving(www, **rules(tmp_path)) as (_, cache):
        handler = Handler(Settings(root=www, **rules(tmp_path)), cache, None, posted.put)
        assert isinstance(handler.answer(head_of("/private/a.txt", ANN), 0), Job)
        assert ask(handler, "/private/a.txt", basic("eve", "x"))[0].status == 503
        assert "answering 503: too many passwords wait to be checked. Type --requests" in caplog.text
        posted.get(timeout=60)()


def test_the_last_answer_of_a_connection_is_private_too(www: Path, tmp_path: Path) -> None:
    with serving(www, **rules(tmp_path)) as (handler, _):
        for version, field in (("1.1", "X: y"), ("1.0", "Connection: keep-alive")):
            answer = handler.answer(head_of("/private/a.txt", ANN, field, version=version), 0)
            assert not isinstance(answer, Job)
            last = answer.as_last().head
            assert last.count(b"\r\nConnection: ") == 1
            assert last.endswith(b"\r\nConnection: close\r\n\r\n")
            assert b"\r\nCache-Control: private\r\n" in last
