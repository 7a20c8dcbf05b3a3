"""Before measuring: does a server answer each request rightly, and how long are its answers?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchlib.fetch import BadAnswer, fetch
from benchlib.server import HOST

if TYPE_CHECKING:
    from bench.workloads import Request, Workload
    from benchlib.fetch import Answer, Fields
    from benchlib.server import Server

# Of the requests of a workload, so many different ones are compared.
COMPARED_MAX = 48


class Unfit(Exception):
    """A server does not take part in a workload; the message says why."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a server will be asked and answers: requests in turn, with its own validators and prefix.

    `mean_length`, `longest`: bytes of whole answers, heads included, over one turn. `same`: all answers are
    of one length. `head`: one response head. `codings`: Content-Encodings used.
    """

    requests: tuple[Request, ...]
    mean_length: float
    longest: int
    same: bool
    head: str
    codings: tuple[str, ...]


def judge(request: Request, answer: Answer) -> None:
    """Raises Unfit when `answer` is not what `request` allows."""
    if answer.status != request.status:
        raise Unfit(f"answers {answer.status} where {request.status} is right")
    coding = answer.field("Content-Encoding").lower()
    wanted = dict(request.bodies)
    if not wanted:
        return
    if coding not in wanted:
        raise Unfit(f"sends Content-Encoding {coding!r}, which nobody asked for")
    if answer.sha256 != wanted[coding]:
        raise Unfit(f"serves other bytes for {request.target}")


def validator(answer: Answer) -> Fields:
    """Return the conditional field for what `answer` gave. Raises Unfit when it gave nothing."""
    if tag := answer.field("ETag"):
        return (("If-None-Match", tag),)
    if date := answer.field("Last-Modified"):
        return (("If-Modified-Since", date),)
    raise Unfit("sends neither ETag nor Last-Modified, so nothing can be revalidated")


def _for_server(server: Server, request: Request, *, revalidate: bool) -> Request:
    """`request` as this server is asked it. Raises Unfit, OSError or BadAnswer."""
    plain = replace(request, target=server.kind.prefix + request.target)
    if not revalidate:
        return plain
    answer = fetch(HOST, server.port, plain.target, plain.fields)
    judge(plain, answer)
    return replace(plain, fields=(*plain.fields, *validator(answer)), status=304, bodies=())


def check(server: Server, workload: Workload) -> Checked:
    """Ask `server` and compare. Raises Unfit."""
    known: dict[Request, Request] = {}
    lengths: dict[Request, int] = {}
    codings: list[str] = []
    head = ""
    for request in dict.fromkeys(workload.requests):
        try:
            asked = _for_server(server, request, revalidate=workload.revalidate)
            known[request] = asked
            if len(lengths) < COMPARED_MAX:
                answer = fetch(HOST, server.port, asked.target, asked.fields)
                judge(asked, answer)
                head = head or answer.head.decode("latin-1")
                lengths[request] = answer.wire_length
                codings.append(answer.field("Content-Encoding") or "identity")
        except (OSError, BadAnswer) as error:
            raise Unfit(f"{request.target}: {error}") from error
    asked_for = [request for request in workload.requests if request in lengths]
    return Checked(
        tuple(known[request] for request in workload.requests),
        sum(lengths[request] for request in asked_for) / len(asked_for),
        max(lengths.values()),
        len(workload.requests) == 1,
        head,
        tuple(dict.fromkeys(codings)),
    )
