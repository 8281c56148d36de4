# Image of one instance: the static program of its service, and certificate authorities. From the root of the tree:
#
#     docker build -t trivet-whoami .
#     docker build -t trivet-front --target front .
#
# It builds for its own platform: on a Raspberry Pi, arm64. It does not need BuildKit.

# To use another image with Go: --build-arg GO_IMAGE=…
ARG GO_IMAGE=golang:1.26
FROM ${GO_IMAGE} AS build
WORKDIR /src

# Modules are separate layers, so that a source change downloads nothing. To build without a network, run `go mod vendor` first (git
# ignores vendor/). go.mod is in the second COPY because COPY fails if nothing matches.
COPY go.mod go.sum ./
COPY go.mod vendor* ./vendor/
RUN if [ -e vendor/modules.txt ]; then rm vendor/go.mod; else rm -r vendor && go mod download; fi

COPY . .

# Version to report, because the build context has no repository; empty means "(devel)".
ARG VERSION=
ARG REVISION=
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false \
	-ldflags "-s -w -X trivet/internal/buildinfo.version=${VERSION} -X trivet/internal/buildinfo.revision=${REVISION}" \
	-o / ./cmd/whoami ./cmd/front

# The second service. Why each line is as it is: below.
FROM scratch AS front
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /front /front
USER 65532:65532
ENV BIND=0.0.0.0
EXPOSE 8100 9100
ENTRYPOINT ["/front"]

FROM scratch
# scratch has no certificate authorities, which TLS clients need.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /whoami /whoami
# Numbers, because scratch has no /etc/passwd and Kubernetes' runAsNonRoot accepts only numbers. 65532 is nonroot in distroless images.
USER 65532:65532
# Accepts connections from the container's network: on 127.0.0.1, whoami's default, not even nginx could connect. What the machine's
# network reaches is decided by -p (ports:).
ENV BIND=0.0.0.0
EXPOSE 8000 9000
ENTRYPOINT ["/whoami"]
