"""The options of the command line as arguments of Python."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

from zchttpd.config.load import read, text_of
from zchttpd.config.options import SettingsError, flag_of, nearest
from zchttpd.config.settings import OPTIONS
from zchttpd.process.checks import check_roots, check_secrets, check_user

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zchttpd.config.load import Given

StrPath: TypeAlias = "str | os.PathLike[str]"


class Options(TypedDict, total=False):
    """What `zchttpd.serve` takes besides the root and the port: docs/options.md explains each.

    A size is bytes, or a text such as "64K"; what may be typed several times is one value, or several.
    """

    config: StrPath
    links_into: StrPath | Sequence[StrPath]
    revalidate_ms: int
    frozen: bool
    listing: bool
    zip: bool
    spa: bool
    clean_urls: bool
    encoded_slash: bool
    error_pages: bool
    no_precompressed: bool
    digest: bool
    digest_size_max: int | str
    cache_control: str | Sequence[str]
    immutable: str | Sequence[str]
    header: tuple[str, str] | Sequence[tuple[str, str]]
    type: str | Sequence[str]
    coding: str | Sequence[str]
    auth: str | Sequence[str]
    redirects: StrPath
    cors: bool
    cross_origin_isolated: bool
    unknown_host: Literal["root", "404", "421"]
    compress: str | Sequence[str]
    compress_size_min: int | str
    compress_size_max: int | str
    compress_memory: int | str
    compress_threads: int
    host: str
    unix: StrPath
    listen: str | Sequence[str]
    proxy_from: str | Sequence[str]
    tls_cert: StrPath
    tls_key: StrPath
    workers: int | Literal["auto"]
    user: str
    pid_file: StrPath
    send_mode: Literal["auto", "zerocopy", "plain"]
    engine: Literal["auto", "uring", "portable"]
    zc_size_min: int | str
    memory: int | str
    stream_memory: int | str
    window_size: int | str
    windows_per_connection: int
    plans_max: int
    recv_buffers: int
    recv_buffer_size: int | str
    head_size_max: int | str
    head_ms_max: int
    idle_ms_max: int
    stall_ms_max: int
    drain_ms_max: int
    connections_max: int
    connections_per_address: int
    requests_per_second: int
    requests_burst: int
    bytes_per_second: int | str
    admin: str
    admin_token_file: StrPath
    admin_name: str | Sequence[str]
    admin_origin: str | Sequence[str]
    access_log: StrPath
    access_log_format: Literal["common", "combined", "timed", "json"]
    request_id: bool
    forwarded_from: str | Sequence[str]
    forwarded_field: Literal["x-forwarded-for", "forwarded"]
    log_level: Literal["debug", "info", "warning", "error"]
    without: str | Sequence[str]


def texts_of(root: StrPath, options: Mapping[str, object]) -> dict[str, str]:
    """What would be typed for these options, by name.

    Raises TypeError for an option that does not exist, SettingsError for a value of a wrong type.
    """
    texts = {"root": os.fspath(root)}
    for name, value in options.items():
        if name not in OPTIONS or name == "root":
            close = nearest(name, [each for each in OPTIONS if each != "root"])
            hint = f". Did you mean {close.replace('-', '_')}?" if close else ""
            raise TypeError(f"serve() got an unexpected keyword argument {name!r}{hint}")
        try:
            texts[name] = text_of(name, _plain(value, OPTIONS[name].words), OPTIONS[name])
        except ValueError as error:
            raise SettingsError(name, str(error)) from None
    return texts


def read_texts(texts: Mapping[str, str]) -> Given:
    """The settings of these texts, and of the file of `config`; the environment has no say.

    Raises SettingsError, which calls options what they are called in Python.
    """
    try:
        given = read(texts, {})
        check_roots(given.settings)
        check_secrets(given.settings)
        check_user(given.settings.user)
    except SettingsError as error:
        problem = error.problem.removeprefix(f"{flag_of(error.name)}: ")
        raise SettingsError(error.name, in_python(problem)) from None
    return given


def in_python(text: str) -> str:
    """A message with `send_mode` where it tells to type `--send-mode`."""

    def name_of(flag: re.Match[str]) -> str:
        name = flag[1].replace("-", "_")
        return name if name in OPTIONS else flag[0]

    return re.sub(r"--([a-z][a-z-]*)", name_of, text)


def _plain(value: object, words: int) -> object:
    """As JSON has it: a path is a text, as are `words` texts that belong together; several are a list."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, tuple) and len(value) == words > 1 and all(isinstance(each, str) for each in value):
        return " ".join(value)
    if isinstance(value, list | tuple):
        return [_plain(each, words) for each in value]
    return value
