# One instance, whoami, as an image of its own: the static program and nothing beside it. From the root of the tree:
#
#     docker build -t trivet-whoami .
#
# It builds for the platform it runs on: on a Raspberry Pi, arm64. Nothing here needs BuildKit.

# Another image with Go, for who keeps a registry of their own: --build-arg GO_IMAGE=…
ARG GO_IMAGE=golang:1.26
FROM ${GO_IMAGE} AS build
WORKDIR /src

# Modules first, in layers of their own: a change of the sources then downloads nothing. Who must build without a network
# runs `go mod vendor` before (vendor/ is ignored by git). COPY wants to find something, and go.mod is what it always finds.
COPY go.mod go.sum ./
COPY go.mod vendor* ./vendor/
RUN if [ -e vendor/modules.txt ]; then rm vendor/go.mod; else rm -r vendor && go mod download; fi

COPY . .

# There is no repository in here to stamp a version from, so who builds says it; empty is "(devel)".
ARG VERSION=
ARG REVISION=
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false \
	-ldflags "-s -w -X trivet/internal/buildinfo.version=${VERSION} -X trivet/internal/buildinfo.revision=${REVISION}" \
	-o /whoami ./cmd/whoami

FROM scratch
# For whatever an instance may one day call by TLS: scratch knows no authority.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /whoami /whoami
# Numbers, because scratch has no /etc/passwd, and because Kubernetes' runAsNonRoot believes numbers alone. 65532 is what
# distroless images call nonroot.
USER 65532:65532
# The doors must be open to the container's network: on 127.0.0.1, whoami's own default, nobody outside this container, nginx
# included, would reach them. What the network of the *machine* reaches is decided by -p (ports:), and by nothing in here.
ENV BIND=0.0.0.0
EXPOSE 8000 9000
ENTRYPOINT ["/whoami"]
