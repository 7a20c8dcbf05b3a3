"""Settings from what was typed: the command line, the environment, and the TOML file of --config."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zchttpd.config.listen import UNIX
from zchttpd.config.names import OFF, SANDBOX
from zchttpd.config.options import SettingsError, check_bounds, flag_of, nearest, problem_of, variable_of
from zchttpd.config.redirects import by_site
from zchttpd.config.settings import OPTIONS, Settings
from zchttpd.config.site import NAMES, Site, check_names, options_of_sites

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zchttpd.config.options import Option

_OF_ADDRESSES = ("connections_per_address", "requests_per_second", "bytes_per_second")
_COMPRESS_ONLY = ("compress_size_min", "compress_size_max", "compress_memory", "compress_threads")
_LINE = "\n"
SITE = "site"


def key_of(name: str) -> str:
    """`send_mode` -> `send-mode`."""
    return name.replace("_", "-")


@dataclass(frozen=True, slots=True)
class Table:
    """A [[site]] of the file: its host names, the texts of its options by field name, and where it is."""

    names: tuple[str, ...]
    texts: Mapping[str, str]
    where: str


def read_file(path: str, options: Mapping[str, Option]) -> tuple[dict[str, str], list[Table]]:
    """The texts of a file by field name, as they would be in the environment, and of its sites.

    Raises ValueError with a one-line text: the file, the key, the cause, the fix.
    """
    import tomllib  # Most starts read no file.

    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise ValueError(f"{path}: cannot be read ({why}). Type --config and a file that can") from None
    except (ValueError, RecursionError) as error:
        # TOMLDecodeError tells the line; or it is not UTF-8, or has lists in lists in lists.
        why = str(error).replace(_LINE, " ")
        raise ValueError(f"{path}: is not TOML: {why}. Type lines such as port = 8080") from None
    tables = found.pop(SITE, [])
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise ValueError(f"{path}: {SITE} is not a list of tables. Type [[{SITE}]] and its lines below")
    sites = [
        _read_table(each, options, f"{path}: [[{SITE}]] {number}") for number, each in enumerate(tables, 1)
    ]
    return _texts_of(found, {name: options[name] for name in options if name != "config"}, path), sites


def _read_table(found: dict[str, object], options: Mapping[str, Option], where: str) -> Table:
    try:
        names = check_names(found.pop(NAMES, None))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    texts = _texts_of(found, options_of_sites(options), where, "an option of a site")
    return Table(names, texts, where)


def _texts_of(
    found: Mapping[str, object], options: Mapping[str, Option], where: str, what: str = "an option"
) -> dict[str, str]:
    names = {key_of(name): name for name in options}
    texts: dict[str, str] = {}
    for key, value in found.items():
        if key not in names:
            close = nearest(key, names)
            fix = f"Did you mean {close}?" if close else "zchttpd --help lists the options"
            raise ValueError(f"{where}: {key!r} is not {what}. {fix}")
        try:
            texts[names[key]] = text_of(key, value, options[names[key]])
        except ValueError as error:
            raise ValueError(f"{where}: {key}: {error}") from None
    return texts


def _site_of(table: Table) -> Site:
    """Raises SettingsError."""
    values = []
    for name, text in table.texts.items():
        try:
            value = OPTIONS[name].parse(text)
            check_bounds(name, OPTIONS[name], value)
        except ValueError as error:
            problem = problem_of(error)
            raise SettingsError("sites", f"{table.where}: {key_of(name)}: {problem}") from None
        values.append((name, value))
    return Site(table.names, tuple(values))


def text_of(key: str, value: object, option: Option) -> str:
    """The text of a value of TOML or JSON, where the option is called `key`. Raises ValueError, with a
    one-line text, for a value of another type.
    """
    if option.switch:
        if isinstance(value, bool):
            return "on" if value else "off"
        raise ValueError(f"{_shown(value)} is neither true nor false. Type {key} = true or {key} = false")
    if option.many:
        values: list[object] = value if isinstance(value, list) else [value]
        texts = [each for each in values if isinstance(each, str) and each.isprintable()]
        if len(texts) == len(values):
            return option.separator.join(texts)
        raise ValueError(f'{_shown(value)} is not a list of texts. Type {key} = ["{option.metavar}"]')
    if option.numeric and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return value
    what = "a number" if option.numeric else "a text"
    raise ValueError(f"{_shown(value)} is not {what}. Type {_example(key, option)}")


def _example(key: str, option: Option) -> str:
    if option.numeric:
        return f"{key} = {max(1, option.low)}"
    return f'{key} = "{option.choices[0] if option.choices else option.metavar}"'


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


@dataclass(frozen=True, slots=True)
class Given:
    """The settings, and of each option that was given, by field name: where it was found (its flag, its
    variable, or the file and its key), and its text. `sites`: of each table of `Settings.sites`.
    """

    settings: Settings
    sources: Mapping[str, str]
    texts: Mapping[str, str]
    sites: Sequence[Table] = ()


def load(command_line: Mapping[str, str], environment: Mapping[str, str]) -> Settings:
    """The settings alone of what `read` reads. Raises SettingsError."""
    return read(command_line, environment).settings


def read(command_line: Mapping[str, str], environment: Mapping[str, str]) -> Given:
    """Settings from texts: `command_line` (field name -> text) before ZCHTTPD_* in `environment`, and both
    before the file of `config`. A variable that is empty counts as one that is not set.

    Raises SettingsError whose `problem` names the flag, the variable, or the file and its key.
    """
    variables = {name: environment.get(variable_of(name)) or None for name in OPTIONS}
    path = command_line.get("config", variables["config"])
    try:
        file, tables = read_file(path, OPTIONS) if path else ({}, [])
    except ValueError as error:
        raise SettingsError("config", str(error)) from None
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    texts: dict[str, str] = {}
    for name, option in OPTIONS.items():
        for text, source in (
            (command_line.get(name), flag_of(name)),
            (variables[name], variable_of(name)),
            (file.get(name), f"{path}: {key_of(name)}"),
        ):
            if text is None:
                continue
            sources[name], texts[name] = source, text
            try:
                values[name] = option.parse(text)
            except ValueError as error:
                raise SettingsError(name, f"{source}: {error}{_kubernetes_hint(name, text)}") from None
            break
    if "root" not in values:
        raise SettingsError("root", "no directory to serve was named. Type: zchttpd --root DIR")
    try:
        settings = Settings(**values, sites=tuple(map(_site_of, tables)))
        return Given(settings, sources, texts, tables)
    except SettingsError as error:
        if error.name == "sites":
            problem = error.problem if error.problem.startswith(f"{path}: ") else f"{path}: {error.problem}"
            raise SettingsError("sites", problem) from None
        source = sources.get(error.name, flag_of(error.name))
        raise SettingsError(error.name, f"{source}: {error.problem}") from None


def _kubernetes_hint(name: str, text: str) -> str:
    # Kubernetes sets ZCHTTPD_PORT=tcp://... in every pod beside a Service named zchttpd.
    if name == "port" and text.startswith("tcp://"):
        return (
            ": Kubernetes sets it for a Service of that name. Type --port N or set enableServiceLinks: false"
        )
    return ""


def without_effect(settings: Settings, sources: Mapping[str, str]) -> list[str]:
    """A line for each option that was given, at `sources`, and has no effect beside the others."""
    lines = []

    def warn(names: tuple[str, ...], why: str) -> None:
        given = [sources[name] for name in names if name in sources]
        if given:
            lines.append(f"without effect: {', '.join(given)}. {why}")

    if settings.listen:
        warn(("host", "port", "unix"), "With --listen it listens there alone; leave one of them out")
    elif settings.unix:
        warn(("host", "port"), f"It listens on {settings.unix}; leave one of them out")
    if all(each.unix and not each.proxy for each in settings.listens) and UNIX not in settings.forwarded_from:
        warn(_OF_ADDRESSES, "Who comes by a unix socket has no address; leave one of them out")
    if not any(each.proxy for each in settings.listens):
        warn(("proxy_from",), "Type --listen HOST:PORT,proxy, or leave it out")
    if not settings.requests_per_second:
        warn(("requests_burst",), "Type --requests-per-second too, or leave it out")
    if not settings.admin:
        warn(
            ("admin_token_file", "admin_name", "admin_origin"), "Type --admin and an address, or leave it out"
        )
    if not settings.tls_cert:
        warn(("tls_key",), "Type --tls-cert and a file, or leave it out")
    if not settings.compress:
        warn(_COMPRESS_ONLY, "Type --compress auto, or leave it out")
    if not settings.sites:
        warn(("unknown_host",), "Write a [[site]] into the file of --config, or leave it out")
    if not settings.digest_size_max:
        warn(("digest",), "With --digest-size-max 0 no digest is made; leave one of them out")
    if settings.access_log == OFF:
        warn(("access_log_format",), "Type --access-log and a file, or leave it out")
        if not by_site(settings) and not any(getattr(settings, name) for name in _OF_ADDRESSES):
            why = (
                "Type --access-log, a limit of an address, or --redirects and a file with http://...,"
                " or leave it out"
            )
            warn(("forwarded_from",), why)
    if not settings.forwarded_from:
        warn(("forwarded_field",), "Type --forwarded-from and the proxies, or leave it out")
    if settings.send_mode == "plain":
        warn(("frozen",), "With --send-mode plain every body is copied; leave one of them out")
    if settings.tls_cert:
        warn(("zc_size_min",), "With --tls-cert every body is encrypted, which copies it")
    if settings.engine == "portable" or settings.tls_cert:
        if not set(settings.without) & set(SANDBOX):
            portable = "--engine portable" if settings.engine == "portable" else "the engine of --tls-cert"
            why = f"It is for io_uring, and {portable} does without; leave one of them out"
            warn(("without",), why)
    elif settings.send_mode == "plain":
        warn(("zc_size_min",), "With --send-mode plain every body is copied; leave one of them out")
    return lines
