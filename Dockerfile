# syntax=docker/dockerfile:1
#
#   docker build -t counterd .
#   docker run -v counterd-data:/var/lib/counterd -p 127.0.0.1:8080:8080 \
#     -e COUNTERD_CALENDAR__TIMEZONE=Europe/Berlin counterd
#
# docs/operations.md, "Containers", says more; docker-compose.yml adds PostgreSQL.

FROM rust:1.95-bookworm AS build
# RocksDB's C++ is compiled with clang, and bindgen needs libclang.
RUN apt-get update \
 && apt-get install -y --no-install-recommends clang libclang-dev make \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The first build takes about five minutes on two cores; the caches keep RocksDB for the next one.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target \
    CARGO_TARGET_DIR=/target cargo build --release --locked --bin counterd \
 && install -m 0755 /target/release/counterd /counterd

FROM debian:bookworm-slim
# The certificate authorities that `rediss://` and PostgreSQL's `sslmode=verify-full` are checked with.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/*
# The user that the server runs as, and what it writes to. A named volume takes over owner and mode.
RUN groupadd --system --gid 10001 counterd \
 && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/counterd --shell /usr/sbin/nologin counterd \
 && install -d -m 0700 -o counterd -g counterd /var/lib/counterd /backups
COPY --from=build /counterd /usr/local/bin/counterd
ENV COUNTERD_SERVER__LISTEN=0.0.0.0:8080 \
    COUNTERD_STORAGE__DATA_DIR=/var/lib/counterd
USER 10001:10001
WORKDIR /var/lib/counterd
VOLUME ["/var/lib/counterd"]
EXPOSE 8080
# counterd is process 1 and takes the signal itself: what was asked is answered and stored first.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/usr/local/bin/counterd", "health"]
ENTRYPOINT ["/usr/local/bin/counterd"]
CMD ["serve"]
