# Static binary on nothing: the image holds the program, a user and three folders. The roots of public CAs are compiled in, and
# used where /etc/ssl/certs is empty: a bundle that is mounted there takes their place.
# No "# syntax" line: it would make BuildKit fetch a frontend image for features that are not used here.
ARG RUST_VERSION=1.95
FROM rust:${RUST_VERSION}-slim-bookworm AS build
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends libcap2-bin >/dev/null \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY .cargo ./.cargo
COPY Cargo.toml Cargo.lock ./
COPY src ./src
# The demonstration's config is compiled in.
COPY config ./config
ARG TARGETARCH
ARG CARGO_PROFILE=release
# The manifest's tests, benches and examples are not in the context; cargo refuses a named one whose file is missing.
# install -s leaves the symbols out, a tenth of the program: a panic still names its file and line.
# --target keeps RUSTFLAGS away from build scripts and procedural macros. libm and libgcc are linked in as well. Relocations are
# packed: half a megabyte, which the C library here unpacks by itself. Less is inlined: 0.4 MB, for 2 % more instructions of
# the program's own in a request, which is one part in 150 of its time.
RUN --mount=type=cache,id=vestibule-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=vestibule-target-${TARGETARCH},target=/src/target,sharing=locked \
    set -eux; \
    awk '/^\[/ { drop = /^\[\[(test|bench|example)\]\]/ } !drop' Cargo.toml > Cargo.build.toml; \
    mv Cargo.build.toml Cargo.toml; \
    host="$(rustc -vV | sed -n 's/^host: //p')"; \
    RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs -C llvm-args=-inline-threshold=120" \
        cargo build --locked --bin vestibule --profile "$CARGO_PROFILE" --target "$host"; \
    install -D -s -m 0755 "target/$host/$CARGO_PROFILE/vestibule" /out/usr/bin/vestibule; \
    if ldd /out/usr/bin/vestibule | grep '=>'; then echo 'not static' >&2; exit 1; fi
# The capability is permitted, not effective: the program raises it itself, so it also starts where all are dropped.
# Any user of group 0 can write the state (platforms that pick the user id).
RUN set -eux; \
    setcap cap_net_bind_service=+p /out/usr/bin/vestibule; \
    mkdir -p /out/etc/ssl/certs /out/etc/vestibule /out/var/lib /out/tmp; \
    chmod 1777 /out/tmp; \
    install -d -o 65532 -g 0 -m 0770 /out/var/lib/vestibule; \
    printf 'hosts: files dns\n' > /out/etc/nsswitch.conf; \
    printf 'root:x:0:0::/:/sbin/nologin\nvestibule:x:65532:65532::/var/lib/vestibule:/sbin/nologin\n' > /out/etc/passwd; \
    printf 'root:x:0:\nvestibule:x:65532:\n' > /out/etc/group
COPY config/vestibule.toml /out/etc/vestibule/vestibule.toml

FROM scratch
COPY --from=build /out/ /
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="vestibule" \
      org.opencontainers.image.description="HTTP/HTTPS reverse proxy with TLS termination" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Where the development CA, ACME and the admin socket keep their state.
ENV VESTIBULE_STATE_DIR=/var/lib/vestibule
# Numeric, so that a check for "not root" needs no look-up.
USER 65532:65532
WORKDIR /var/lib/vestibule
EXPOSE 80/tcp 443/tcp 443/udp
# TERM drains; exit 0.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["/usr/bin/vestibule", "health"]
ENTRYPOINT ["/usr/bin/vestibule"]
CMD ["run"]
