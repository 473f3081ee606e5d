# MinIO for development, built from source where it is used: its community edition has no images
# any more. Asgard talks to it and never ships it (it is AGPL-3.0).
# `docker build -f deploy/docker/minio.Dockerfile -t asgard-minio:dev deploy/docker`
FROM golang:1.26-bookworm AS build
# The version that the tests run against: .ci/setup-engines.
RUN CGO_ENABLED=0 GOBIN=/built go install github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c

FROM debian:bookworm-slim
COPY --from=build /built/minio /usr/local/bin/minio
RUN install --directory --owner 10001 --group 10001 /data
USER 10001:10001
ENV HOME=/tmp
VOLUME ["/data"]
EXPOSE 9000
ENTRYPOINT ["minio"]
CMD ["server", "/data", "--address", ":9000"]
