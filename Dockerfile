# The image of one instance: the static program whoami and nothing else. From the root of the tree:
#
#     docker build -t trivet-whoami .
#
# It builds for the platform that it is built on: on a Raspberry Pi, arm64. Nothing here needs BuildKit.

# Another image with Go, from a registry of your own: --build-arg GO_IMAGE=…
ARG GO_IMAGE=golang:1.26
FROM ${GO_IMAGE} AS build
WORKDIR /src

# Modules first, in layers of their own, so that a change of the sources downloads nothing. To build without a network, run
# `go mod vendor` before (git ignores vendor/). COPY fails if it finds nothing; go.mod is always there.
COPY go.mod go.sum ./
COPY go.mod vendor* ./vendor/
RUN if [ -e vendor/modules.txt ]; then rm vendor/go.mod; else rm -r vendor && go mod download; fi

COPY . .

# There is no repository here to take the version from, so the build is given it; empty means "(devel)".
ARG VERSION=
ARG REVISION=
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false \
	-ldflags "-s -w -X trivet/internal/buildinfo.version=${VERSION} -X trivet/internal/buildinfo.revision=${REVISION}" \
	-o /whoami ./cmd/whoami

FROM scratch
# For calls by TLS: scratch has no certificate authorities.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /whoami /whoami
# Numbers, because scratch has no /etc/passwd, and because Kubernetes' runAsNonRoot accepts only numbers. 65532 is nonroot in
# distroless images.
USER 65532:65532
# The listeners must accept from the container's network: on 127.0.0.1, whoami's default, not even nginx would reach them. What the
# network of the *machine* reaches is decided by -p (ports:), not here.
ENV BIND=0.0.0.0
EXPOSE 8000 9000
ENTRYPOINT ["/whoami"]
