# The image for those who have Docker: `docker build --tag integration-operator:0.1.0 .`
# It is the image of `make image`, without the SBOM and the licences of libraries, and with Debian's list of authorities;
# see docs/image.md.
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    mkdir -p /image/etc/ssl/certs /image/usr/share/doc/integration-operator \
    && cp "$(tools/build-static integration-operator)" /image/integration-operator \
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
    && cp LICENSE /image/usr/share/doc/integration-operator/LICENSE \
    && printf 'root:x:0:0:root:/:/nologin\nnonroot:x:65532:65532:nonroot:/:/nologin\n' >/image/etc/passwd \
    && printf 'root:x:0:\nnonroot:x:65532:\n' >/image/etc/group

FROM scratch
# What the build cannot know: --build-arg REVISION="$(git rev-parse HEAD)" --build-arg CREATED="$(git log -1 --format=%cI)"
ARG REVISION=""
ARG CREATED="1970-01-01T00:00:00Z"
LABEL org.opencontainers.image.title="integration-operator"
LABEL org.opencontainers.image.description="A Kubernetes operator that connects projects to third-party apps and keeps their tokens alive"
LABEL org.opencontainers.image.version="0.1.0"
LABEL org.opencontainers.image.licenses="Apache-2.0"
LABEL org.opencontainers.image.revision="${REVISION}"
LABEL org.opencontainers.image.created="${CREATED}"
COPY --from=build /image /
USER 65532:65532
ENTRYPOINT ["/integration-operator"]
CMD ["run"]
