"""Media types by file name, the same on every host: the table is this one, not the system's."""

from __future__ import annotations

DEFAULT = "application/octet-stream"

# IANA names; RFC 9239 for JavaScript.
_TEXT = {
    "text/html": "html htm",
    "text/css": "css",
    "text/javascript": "js mjs cjs",
    "text/plain": "txt text log conf cfg ini",
    "text/markdown": "md markdown",
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "text/calendar": "ics",
    "text/vcard": "vcf",
    "text/vtt": "vtt",
}
_OTHERS = {
    "application/atom+xml": "atom",
    "application/epub+zip": "epub",
    "application/geo+json": "geojson",
    "application/gzip": "gz tgz",
    "application/java-archive": "jar",
    "application/json": "json map",
    "application/jsonl": "jsonl ndjson",
    "application/ld+json": "jsonld",
    "application/manifest+json": "webmanifest",
    "application/msword": "doc",
    "application/pdf": "pdf",
    "application/postscript": "ps eps",
    "application/rss+xml": "rss",
    "application/rtf": "rtf",
    "application/toml": "toml",
    "application/vnd.android.package-archive": "apk",
    "application/vnd.apple.mpegurl": "m3u8",
    "application/vnd.debian.binary-package": "deb",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-fontobject": "eot",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.oasis.opendocument.presentation": "odp",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.rar": "rar",
    "application/vnd.sqlite3": "sqlite",
    "application/wasm": "wasm",
    "application/x-7z-compressed": "7z",
    "application/x-bzip2": "bz2",
    "application/x-tar": "tar",
    "application/x-xz": "xz",
    "application/xhtml+xml": "xhtml",
    "application/xml": "xml xsl xsd",
    "application/yaml": "yaml yml",
    "application/zip": "zip whl",
    "application/zstd": "zst",
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/midi": "mid midi",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/ogg": "oga ogg opus",
    "audio/wav": "wav",
    "audio/webm": "weba",
    "font/otf": "otf",
    "font/ttf": "ttf",
    "font/woff": "woff",
    "font/woff2": "woff2",
    "image/apng": "apng",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/heic": "heic",
    "image/jpeg": "jpg jpeg",
    "image/jxl": "jxl",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/tiff": "tif tiff",
    "image/vnd.microsoft.icon": "ico",
    "image/webp": "webp",
    "model/gltf+json": "gltf",
    "model/gltf-binary": "glb",
    "video/mp2t": "ts",
    "video/mp4": "mp4 m4v",
    "video/mpeg": "mpg mpeg",
    "video/ogg": "ogv",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
    "video/x-msvideo": "avi",
}

# Beside text: what is not compressed by itself. Archives are left as they are: a client that keeps one would
# keep it decoded or not, as it likes.
_COMPRESSIBLE = frozenset(
    (
        *("application/atom+xml", "application/geo+json", "application/json", "application/jsonl"),
        *("application/ld+json", "application/manifest+json", "application/postscript"),
        *("application/rss+xml", "application/rtf", "application/toml", "application/vnd.apple.mpegurl"),
        *("application/vnd.ms-fontobject", "application/wasm", "application/xhtml+xml", "application/xml"),
        *("application/yaml", "font/otf", "font/ttf", "image/bmp", "image/svg+xml"),
        *("image/vnd.microsoft.icon", "model/gltf+json", "model/gltf-binary"),
    )
)


def _by_extension() -> dict[bytes, str]:
    table = {}
    for kinds, charset in ((_TEXT, "; charset=utf-8"), (_OTHERS, "")):
        for kind, extensions in kinds.items():
            for extension in extensions.split():
                table[extension.encode("ascii")] = kind + charset
    return table


_TABLE = _by_extension()


def media_type(name: bytes) -> str:
    """The Content-Type of a file by the extension of its name, in any case; text says that it is UTF-8."""
    stem, dot, extension = name.rpartition(b".")
    return _TABLE.get(extension.lower(), DEFAULT) if dot and stem else DEFAULT


def compressible(media_type: str) -> bool:
    """Whether files of a type, as `media_type` gives it, commonly shrink when they are compressed."""
    return media_type.startswith("text/") or media_type in _COMPRESSIBLE
