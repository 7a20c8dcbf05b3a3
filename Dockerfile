# zchttpd in a container, for a user without rights, with both engines. docs/containers.md says how to run it.
#   docker build -t zchttpd . && docker run --rm -p 8080:8080 -v "$PWD/www:/srv/www:ro" zchttpd

FROM debian:trixie-slim AS build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends \
        ca-certificates curl gcc libc6-dev make pkg-config python3-dev python3-venv
WORKDIR /src
# A file to take liburing from, where its release cannot be fetched; tools/liburing knows its checksum.
ARG LIBURING_ARCHIVE=""
COPY tools/liburing tools/
COPY licenses licenses/
RUN tools/liburing /opt/liburing
COPY LICENSE README.md meson.build meson.options pyproject.toml ./
COPY tools/shell_pages.py tools/
COPY ext ext/
COPY zchttpd zchttpd/
ENV PKG_CONFIG_PATH=/opt/liburing/lib/pkgconfig
RUN python3 -m venv --without-pip /opt/zchttpd \
    && python3 -m venv /opt/pip \
    && /opt/pip/bin/pip --python /opt/zchttpd/bin/python install --no-cache-dir \
        --config-settings=setup-args=-Ddebug=false --config-settings=setup-args=-Db_ndebug=true '.[compress]'

FROM debian:trixie-slim
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin zchttpd \
    && mkdir /srv/www
COPY --from=build /opt/zchttpd /opt/zchttpd/
USER 10001:10001
# What is typed after the name of the image wins over these.
ENV ZCHTTPD_HOST=0.0.0.0 ZCHTTPD_PORT=8080 ZCHTTPD_ADMIN=127.0.0.1:9090
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s \
    CMD ["/opt/zchttpd/bin/python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:9090/healthz', timeout=2)"]
ENTRYPOINT ["/opt/zchttpd/bin/zchttpd"]
CMD ["/srv/www"]
