"""A folder as a zip file: what is in it, and what its answer says."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

from zchttpd.config.rules import path_of
from zchttpd.files.tree import Refusal
from zchttpd.http.response import Metadata, ResponseBuilder, Slice
from zchttpd.http.target import Target

if TYPE_CHECKING:
    from zchttpd.files.archives import Archives
    from zchttpd.handler.answer import Answer, AnswerEncoder
    from zchttpd.handler.auth import Auth
    from zchttpd.handler.redirects import Redirects
    from zchttpd.handler.site import SitePolicy
    from zchttpd.http.request import Request

MEDIA_TYPE = "application/zip"
# Of the root, which has no name here.
ROOT_NAME = b"files"
# `/folder/?zip`, and what the button of a listing asks for.
_QUERIES = (b"zip", b"zip=")


def wants_archive(target: Target) -> bool:
    """Whether a folder is asked for as a zip."""
    return target.directory and target.query in _QUERIES


class ArchiveAnswers:
    """Answers with what `archives` finds, without what a client could not ask for by its own path: where
    another password is wanted, or `--redirects` leads elsewhere.
    """

    def __init__(
        self, archives: Archives, auth: Auth, redirects: Redirects, site: SitePolicy, encoder: AnswerEncoder
    ) -> None:
        self._archives = archives
        self._auth = auth
        self._redirects = redirects
        self._site = site
        self._encoder = encoder

    def answer(self, request: Request, target: Target) -> Answer:
        """The archive of a folder, or of its parts, or why there is none.

        Raises Pending while the folder is looked at, OSError (EBUSY) when too many wait for that.
        """
        realm = self._auth.realm_of([_path(target.segments, True)])

        def gives(segments: tuple[bytes, ...], folder: bool) -> bool:
            member = Target(segments, folder, None, b"")
            if self._redirects.find(member, forced=True, origin=request.origin) is not None:
                return False
            return self._auth.realm_of([_path(segments, folder)]) in (None, realm)

        fields = {name.lower(): (name, value) for name, value in self._site.of_path(target.segments, True)}
        found = self._archives.find(target.segments, gives, self._redirects.sites_of(request.origin))
        if isinstance(found, Refusal):
            response = ResponseBuilder(request, tuple(fields.values())).error(
                found.status, reason=found.reason
            )
            return self._encoder.encode(request, response)
        name = target.segments[-1] if target.segments else ROOT_NAME
        disposition = f"attachment; filename*=UTF-8''{quote_from_bytes(_shown(name), safe='')}.zip"
        fields[b"content-disposition"] = (b"Content-Disposition", disposition.encode("ascii"))
        fields[b"cache-control"] = (b"Cache-Control", b"no-cache")
        builder = ResponseBuilder(request, tuple(fields.values()))
        response = builder.representation(Metadata(found.size, found.etag, None, MEDIA_TYPE))
        answer = self._encoder.encode(request, response)
        sends = any(isinstance(part, Slice) for part in response.parts)
        return answer._replace(archive=found) if sends else answer


def _path(segments: tuple[bytes, ...], folder: bool) -> str:
    return path_of(segments) + ("/" if folder and segments else "")


def _shown(name: bytes) -> bytes:
    """In UTF-8, as RFC 8187 wants it."""
    return name.decode("utf-8", "replace").encode()
