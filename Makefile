# `make help` lists the targets.

.DEFAULT_GOAL := help
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# A static program, as deploy/Dockerfile has it. Without debug information the first
# build takes a sixth less. It records the commit, unless git cannot tell it: without a
# commit, or as root in somebody else's clone.
BUILD := CGO_ENABLED=0 go build -trimpath -gcflags=all=-dwarf=false -ldflags=-w $(shell git rev-parse --verify --quiet HEAD >/dev/null 2>&1 || echo -buildvcs=false)

# Makes sure that PostgreSQL's programs are there, by installing them where that
# can be done. Only a PostgreSQL that is missing is mended so: a mistake in .env is told.
POSTGRES := said=$$(bin/carelog find-postgres 2>&1) || case $$? in 3) deploy/install-postgres.sh;; *) echo "$$said" >&2; exit 1;; esac

# Whether a setting is set, in the environment or in .env.
configured = { [ -n "$$$(1)" ] || grep -Eqs '^(export +)?$(1) *=' .env; }

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: run
run: build ## start the server on 127.0.0.1:8000, its data in .carelog
	@$(call configured,DATABASE_URL) || $(call configured,DB_NAME) || $(POSTGRES)
	@$(call configured,CARELOG_DATA_DIR) || export CARELOG_DATA_DIR=.carelog; exec bin/carelog serve

.PHONY: demo
demo: build ## fill the running server with 1,000 made-up patients, 50 doctors and their mappings; DEMO=--help tells what can be chosen
	@bin/carelog demo $(DEMO)

.PHONY: postman
postman: ## send every request of deploy/postman to the running server; BASE=http://127.0.0.1:8000 names it
	@command -v npx >/dev/null || { echo "Node 20 or newer is needed: see https://nodejs.org" >&2; exit 1; }
	npx --yes newman@6.2.2 run deploy/postman/carelog.postman_collection.json --environment deploy/postman/carelog.postman_environment.json \
		$(if $(BASE),--env-var baseUrl=$(BASE))

.PHONY: psql
psql: build ## look into the log and the read tables of the server that make run has started
	@dir=$${CARELOG_DATA_DIR:-$$(sed -n 's/^\(export \)\{0,1\}CARELOG_DATA_DIR *= *//p' .env 2>/dev/null | tail -n 1)}; \
		run=$$(sed -n 5p "$${dir:-.carelog}/postgres/data/postmaster.pid") && \
		exec "$$(bin/carelog find-postgres)/psql" "host=$$run port=5432 user=carelog dbname=carelog"

.PHONY: build
build: ## build bin/carelog
	@command -v go >/dev/null || { echo "Go 1.26 or newer is needed: see https://go.dev/dl" >&2; exit 1; }
	$(BUILD) -o bin/carelog ./cmd/carelog

.PHONY: test
test: build ## run every test, with the race detector and a throwaway PostgreSQL
	@$(POSTGRES)
	bin/carelog with-postgres -- go test -race -timeout 20m ./...

.PHONY: faults
faults: build ## hurt a whole installation for 5 minutes (CARELOG_FAULTS_DURATION=1h: longer), and report
	@$(POSTGRES)
	CARELOG_FAULTS_DURATION=$${CARELOG_FAULTS_DURATION:-5m} go test -race -count=1 -timeout 0 -v -run '^TestFaults$$' ./cmd/carelog

.PHONY: bench
bench: build ## measure against a yardstick for 10 minutes; BENCH="-rows post -connections 32 -rounds 1" measures less
	$(BUILD) -o bin/bench ./cmd/bench
	@$(POSTGRES)
	bin/carelog with-postgres --durable -- bin/bench $(BENCH)

.PHONY: bench-growth
bench-growth: build ## measure a log of 10 million events against a short one for 15 minutes, in 10 GB of /tmp; BENCH="-events 1000000" measures less
	$(BUILD) -o bin/bench ./cmd/bench
	@$(POSTGRES)
	bin/carelog with-postgres --durable -- bin/bench growth $(BENCH)

.PHONY: bench-saturation
bench-saturation: build ## offer twice what the server carries, and see that it sheds the rest; BENCH=-help tells what can be set
	$(BUILD) -o bin/bench ./cmd/bench
	@$(POSTGRES)
	bin/carelog with-postgres --durable -- bin/bench saturation $(BENCH)

.PHONY: bench-components
bench-components: build ## measure the parts one by one, for benchstat; BENCH="-bench Append -count 6" measures less
	@$(POSTGRES)
	@bin/carelog with-postgres --durable -- go test -run '^$$' $(if $(BENCH),$(BENCH),-bench . -count 6) -timeout 0 ./...

.PHONY: generate
generate: ## write the generated files anew: JSON Schemas and AsyncAPI document of the events, openapi.json of openapi.yaml
	go generate ./...

.PHONY: swagger-ui
swagger-ui: ## write the files of the API page that are not ours anew, from npm: httpapi/docs/update.sh names the version
	httpapi/docs/update.sh

.PHONY: verify
verify: build ## check format, vet, staticcheck, generated files, import rules, and that openapi.yaml describes every route
	@unformatted=$$(gofmt -l $$(go list -f '{{.Dir}}' ./...)); \
		[ -z "$$unformatted" ] || { printf 'gofmt would change:\n%s\n' "$$unformatted" >&2; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...
	@before=$$(git status --porcelain; git diff | cksum); go generate ./... || exit 1; \
		after=$$(git status --porcelain; git diff | cksum); \
		[ "$$before" = "$$after" ] || { echo "go generate has changed files: commit what it makes" >&2; exit 1; }
	go test -run Import ./events
	go test -run Described ./httpapi

.PHONY: clean
clean: ## remove what was built; .carelog stays, it holds data
	rm -rf bin
