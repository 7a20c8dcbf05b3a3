"""Answers become plans: what is copied lies in one image, the rest is sent from where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zchttpd.engine.bodies import Bodies, Body, Holding, State
from zchttpd.engine.parts import INLINED_SIZE_MAX

if TYPE_CHECKING:
    from zchttpd._core.site_worker import SiteWorker
    from zchttpd.handler.answer import Answer


def make_plan(
    engine: SiteWorker, bodies: Bodies, answer: Answer, holding: Holding | None, body: Body | None
) -> int:
    """Literal bytes, small windows among them, become one image; the rest is sent from where it is.

    The first segment has the Date; whoever is still being sent it when that changes has a copy of its own.
    """
    image = bytearray(answer.head)
    copied_max = INLINED_SIZE_MAX
    segments: list[tuple[str, int, int]] = []
    literal_from = 0
    if len(answer.parts) > 1:
        segments.append(("literal", 0, len(image)))
        literal_from = len(image)
    for part in answer.parts:
        if isinstance(part, bytes):
            image += part
            continue
        assert body is not None
        literal = bodies.literal(body, part.offset, part.length, copied_max)
        if literal is not None:
            image += literal
            copied_max -= len(literal)
            continue
        if len(image) > literal_from:
            segments.append(("literal", literal_from, len(image) - literal_from))
            literal_from = len(image)
        segments.append(("mapped" if body.state is State.MAPPED else "streamed", part.offset, part.length))
    if len(image) > literal_from:
        segments.append(("literal", literal_from, len(image) - literal_from))
    kinds = {segment[0] for segment in segments}
    return engine.plan(
        status=answer.status,
        image=bytes(image),
        date_at=answer.date_at,
        segments=segments,
        keep_alive=answer.keep_alive,
        linger=answer.linger,
        entry=None if holding is None else holding.number,
        mapping=body.number if body is not None and "mapped" in kinds else None,
        source=body.number if body is not None and "streamed" in kinds else None,
        head_length=len(answer.head),
    )
