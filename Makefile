# All tasks of the project. `make` alone lists the targets.

# Go must not cache results: the tests run processes.
TEST_FLAGS ?= $(RACE) -shuffle=on -count=1
# The race detector needs a C compiler; without one the tests run without it, and say so.
RACE := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)
# How much each parser is fuzzed by `make check`: a count, because Go now and then fails a run that a duration ends.
FUZZ_TIME ?= 10000x
# Version stamps in binaries, also where GOFLAGS says otherwise.
BUILD_FLAGS := -trimpath -buildvcs=auto

TOOL := go tool -modfile=tools.mod

.PHONY: help up build experiments picture page-pictures soak bench bench-sweep bench-smoke bench-listeners bench-page bench-programs attack test test-slow examples catalog test-all test-docker test-cluster test-kubernetes test-swarm check fmt lint scripts repo-rules generate generated breaking fuzz nginx nginx-next chromium prometheus prometheus-programs test-observability manifests man dist release clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

up: build nginx ## start nginx, three instances and one of front, with TLS and mutual TLS; Ctrl-C stops everything (ARGS="-n 5" adds flags)
	@exec bin/trivet up --front 1 --tls --mtls $(ARGS)

# CGO_ENABLED=0: static, so that it runs anywhere, also in an image without a libc.
build: ## build trivet, and the services whoami and front, into bin/
	CGO_ENABLED=0 go build $(BUILD_FLAGS) -o bin/ ./cmd/...

experiments: build nginx ## three and a half minutes: run all experiments, and write experiments/README.md from what they measured
	bin/trivet run experiments
	bin/trivet report --format markdown > experiments/README.md

picture: build nginx ## run kill-one, and draw its report as docs/kill-one.svg (gets freeze from the Go module proxy)
	bin/trivet run experiments/kill-one.yaml
	go run github.com/charmbracelet/freeze@v0.2.2 --execute "bin/trivet report" --execute.timeout 1m \
	  --font.family monospace --font.size 12 --padding 16 --output docs/kill-one.svg

page-pictures: nginx chromium ## a minute, idle machine: draw the page of a live stack and of a report as docs/page-live.png and docs/page-report.png
	TRIVET_NGINX=$${TRIVET_NGINX:-$$(nginx/fetch --which)} TRIVET_CHROMIUM=$${TRIVET_CHROMIUM:-$$(e2e/browser/fetch --which)} \
	  go test -tags pictures -count=1 -timeout 10m -v -run '^TestPictures$$' ./e2e/browser

soak: build nginx ## ten minutes: reconcile 2,000 requests per second under kills and reloads, ten times
	for n in 1 2 3 4 5 6 7 8 9 10; do bin/trivet run experiments/stress/reconcile.yaml || exit; done

bench: bench-programs ## half an hour: compare speed side by side and print a table of ratios (ARGS="--rows 2a" selects; docs/performance.md)
	@.cache/bench/bin/bench $(ARGS)

bench-sweep: bench-programs ## compare the shipped nginx files with the best of a sweep over keepalive, workers and logging
	@.cache/bench/bin/bench --json .cache/bench/sweep.json $(ARGS) sweep

bench-smoke: bench-programs ## a minute: show that all of bench works; judges nothing
	go -C bench vet ./...
	go -C bench tool -modfile=../tools.mod staticcheck ./...
	go -C bench test -count=1 -timeout 2m ./...
	.cache/bench/bin/bench --smoke --json .cache/bench/smoke.json
	.cache/bench/bin/bench --smoke --json .cache/bench/smoke-sweep.json sweep
	.cache/bench/bin/page --smoke

bench-listeners: ## time, bytes and allocations per request of both listeners, by go test -bench (BASE=revision compares)
	@bench/listeners $(BASE)

bench-page: build nginx ## two and a half minutes, idle machine: CPU time of trivet up with its page at 2,000 requests per second (ARGS=--browser: and a Chromium's)
	CGO_ENABLED=0 go -C bench build $(BUILD_FLAGS) -o ../.cache/bench/bin/ ./page
	@.cache/bench/bin/page $(ARGS)

# A module of its own: programs to compare with must not get into go.mod.
bench-programs: build nginx ## build bench, and fetch the programs that it compares with into .cache/bench
	@bench/fetch
	CGO_ENABLED=0 go -C bench build $(BUILD_FLAGS) -o ../.cache/bench/bin/ . ./bare ./page

attack: build nginx ## two minutes: do to an instance and to nginx what a hostile client would; prints a table (ARGS="--only reset")
	@TRIVET_NGINX=$${TRIVET_NGINX:-$$(nginx/fetch --which)} go run ./e2e/attack $(ARGS)

man: build ## write manual pages and completion scripts to man/
	bin/trivet man man
	for shell in bash zsh fish; do for program in trivet whoami front; do \
	  bin/$$program completion $$shell > man/$$program.$$shell || exit 1; \
	done; done

dist: ## build static binaries for amd64 and arm64 into bin/
	for arch in amd64 arm64; do \
	  CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go build $(BUILD_FLAGS) -o bin/linux-$$arch/ ./cmd/... || exit 1; \
	done

release: ## write archives, the image as OCI layouts, bills of materials and checksums to dist/; publishes nothing
	@.ci/release

nginx: ## get Debian's nginx into .cache/nginx, unless this machine has one that will do
	@nginx/fetch

nginx-next: ## get the newer nginx of Debian's next release into .cache/nginx-next (TRIVET_NGINX=$$(nginx/fetch --next --which) uses it)
	@nginx/fetch --next

chromium: ## get Debian's headless Chromium into .cache/chromium, unless this machine has one and a font
	@e2e/browser/fetch

prometheus-programs: ## get Debian's prometheus and promtool into .cache/prometheus, unless this machine has some that will do
	@deploy/prometheus/fetch

prometheus: prometheus-programs ## start Prometheus at 127.0.0.1:7090 beside make up; Ctrl-C ends it (docs/metrics.md)
	@exec deploy/prometheus/run $(ARGS)

test: nginx chromium ## test the main module, also through a real nginx (experiments: examples; bench: bench-smoke; containers: test-docker)
	$(if $(RACE),,@echo "no C compiler here: the tests run without -race (apt-get install gcc)")
	TRIVET_NGINX=$${TRIVET_NGINX:-$$(nginx/fetch --which)} TRIVET_CHROMIUM=$${TRIVET_CHROMIUM:-$$(e2e/browser/fetch --which)} \
	  go test $(TEST_FLAGS) $$(go list ./... | grep -Ev '/experiments/|/lab/experiment$$')
	# With -race, thousands of generated metrics take minutes, and rawconn makes other system calls.
	TRIVET_NGINX=$${TRIVET_NGINX:-$$(nginx/fetch --which)} go test -shuffle=on -count=1 ./lab/experiment $(if $(RACE),./internal/rawconn)

test-slow: nginx nginx-next chromium prometheus-programs ## half an hour: the tests behind the build tag slow, and those of nginx's configuration with the newer nginx
	TRIVET_NGINX=$${TRIVET_NGINX:-$$(nginx/fetch --which)} TRIVET_CHROMIUM=$${TRIVET_CHROMIUM:-$$(e2e/browser/fetch --which)} \
	  go test -tags slow -shuffle=on -count=1 -timeout 30m $$(go list ./... | grep -v /experiments/)
	.ci/fuzz 50000x
	go -C e2e/otlp test -tags slow -count=1 -timeout 30m ./... # A module of its own: the collector's modules must not get into go.mod.
	TRIVET_NGINX=$$(nginx/fetch --next --which) go test -tags slow -shuffle=on -count=1 -timeout 30m ./nginx/... ./e2e
	deploy/prometheus/fetch --next
	TRIVET_PROMETHEUS=$$(deploy/prometheus/fetch --next --which) go test -tags slow -count=1 -timeout 5m ./deploy/...

test-observability: nginx prometheus-programs ## half a minute: promtool checks configuration and alerts, a real Prometheus scrapes a real fleet
	TRIVET_NGINX=$${TRIVET_NGINX:-$$(nginx/fetch --which)} go test -tags slow -count=1 -timeout 5m ./deploy/...

# By itself: beside other tests the machine would be too busy, and a run on a busy machine is invalid.
examples: nginx ## six minutes: run each example experiment and policy, what trivet prints about valid runs, and try to pass off a busy machine as a result (EXAMPLES=-short: a third of them)
	TRIVET_NGINX=$${TRIVET_NGINX:-$$(nginx/fetch --which)} go test $(EXAMPLES) -count=1 -timeout 20m ./experiments/...
	TRIVET_NGINX=$${TRIVET_NGINX:-$$(nginx/fetch --which)} go test -tags slow -count=1 -timeout 5m -run '^TestVerdicts$$' ./cmd/trivet

catalog: build nginx ## an hour: all experiments ten times on an idle machine, ten times beside busy loops (ARGS="2" runs fewer)
	@.ci/catalog $(ARGS)

test-all: check test test-slow examples bench-smoke test-docker test-cluster test-kubernetes test-swarm catalog soak ## five hours: everything, also what is too slow for .ci/run

test-docker: ## run the stack in containers, on a Docker engine that is there or one of its own (root, Debian)
	@e2e/docker/run

test-kubernetes: ## apply deploy/kubernetes to a real kube-apiserver and etcd: half a minute; the first time some 10, to compile them
	@deploy/kubernetes/proof/test

test-swarm: ## ten minutes: run deploy/swarm/stack.yml on a real Swarm of three nodes in namespaces of this machine (root, Debian)
	@deploy/swarm/run

test-cluster: ## a quarter of an hour, twice that the first time: test the stack on a real Kubernetes cluster of three nodes (root, Debian), or on that of KUBECONFIG
	@deploy/kubernetes/cluster/run $(ARGS)

check: fmt lint scripts repo-rules generated breaking fuzz manifests ## all checks but the tests: fmt, lint, scripts, repo-rules, generated, breaking, fuzz, manifests

fmt: ## check gofmt and go.mod
	@wrong=$$(git ls-files '*.go' | grep -v ^gen/ | xargs gofmt -l); [ -z "$$wrong" ] || { echo "gofmt wants: $$wrong"; exit 1; }
	go mod tidy -diff

lint: ## go vet, go fix, staticcheck, misspell, govulncheck
	go vet ./...
	go vet -tags cluster,docker,pictures,slow,swarm ./...
	go fix -diff ./...
	$(TOOL) staticcheck ./...
	git ls-files | grep -Ev '^(gen|e2e/browser/testdata/axe)/|\.(sum|png|svg)$$' | xargs $(TOOL) misspell -locale US -error -i protocl
	@.ci/govulncheck

# actionlint's own use of shellcheck is off, so that it finds the same on each machine; the workflow runs one script, checked here.
scripts: ## shellcheck over the shell scripts, actionlint over the workflow
	@.ci/shellcheck
	$(TOOL) actionlint -shellcheck= -pyflakes=

repo-rules: ## the repository rules: import lines, sizes, language, what tests may not do
	go test -count=1 -run 'Imports|Budgets|Neither|Replaces|Text|Language' .

generate: ## write gen/ and gateway/openapi/ again from proto/, and nginx/docker/site from nginx/conf/site
	$(TOOL) buf generate
	$(TOOL) buf generate internal/notes --template internal/notes/buf.gen.yaml
	go test -count=1 -run '^TestImageSiteIsFresh$$' ./nginx -update

generated: ## lint the contract; is the generated code fresh?
	$(TOOL) buf lint
	$(TOOL) buf format --diff --exit-code
	@.ci/fresh

breaking: ## compare the contract with the last release's, or the parent commit's
	@proto/breaking

fuzz: ## fuzz each of the parsers
	@.ci/fuzz $(FUZZ_TIME) lab/experiment=2000x # 6 ms per experiment; make test-slow tries 50000.

# A module of its own: Kubernetes' modules must not get into go.mod. CGO_ENABLED and -trimpath as for its programs, so that packages are
# compiled once.
PROOF := CGO_ENABLED=0 go -C deploy/kubernetes/proof
manifests: ## seconds: render the overlays of deploy/kubernetes, and check them without a cluster
	$(PROOF) vet -trimpath ./manifests
	staticcheck=$$($(TOOL) -n staticcheck) && cd deploy/kubernetes/proof && CGO_ENABLED=0 GOFLAGS=-trimpath $$staticcheck ./manifests
	$(PROOF) test -trimpath -count=1 ./manifests

clean: ## remove what was built and fetched
	rm -rf bin dist man .cache
