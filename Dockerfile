# The registry as an image: built on Debian, run on Debian without a compiler, as a user without a name.
# It writes below /data alone, so it runs with a read-only root.

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock schema.sql openapi.yaml ./
COPY .cargo ./.cargo
COPY src ./src
COPY benches ./benches
RUN cargo build --release --locked --bin canhbao

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="canhbao" \
      org.opencontainers.image.description="A registry of flagged payment accounts and e-wallets" \
      org.opencontainers.image.licenses="Apache-2.0"
# The commands that speak TLS trust the usual authorities unless they are given a CA.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/target/release/canhbao /usr/local/bin/canhbao
COPY LICENSE /usr/share/doc/canhbao/LICENSE
RUN install -d -m 0700 -o 10001 -g 10001 /data
USER 10001:10001
VOLUME /data
# SQLite keeps what a statement spills in temporary files, and a commit fails where it cannot: there is no other place to write.
ENV CANHBAO_DATA=/data \
    CANHBAO_LISTEN=0.0.0.0:8443 \
    SQLITE_TMPDIR=/data
EXPOSE 8443
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 CMD ["canhbao", "health"]
ENTRYPOINT ["canhbao"]
CMD ["serve"]
