# make serve   install what is missing, build, serve www/ at http://127.0.0.1:8080
# make test    the same, then the tests
# make help    the other targets; CONTRIBUTING.md says which one when

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8080
ADMIN ?= 127.0.0.1:9090
FUZZ_SECONDS ?= 60
SOAK_MINUTES ?= 60
JOBS ?= 2
SOURCES := $(shell find ext zchttpd -name '*.py' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' -o -name '*.build') \
    pyproject.toml meson.build meson.options
BUILD_TOOLS := 'pip>=23.1' 'meson-python>=0.17' 'meson>=1.3' ninja 'cython>=3.1'

# What Python has compiled is kept: without it each run of the tests compiles them anew, in each process.
unexport PYTHONDONTWRITEBYTECODE
PYTEST = bin/pytest -n $(JOBS) --dist worksteal
# What `make quick` runs: each layer by itself, every HTTP case without a socket, one connection to each engine.
QUICK := tests/unit tests/core tests/sim tests/fuzz tests/driver tests/ring tests/package/test_tidy.py \
    tests/package/test_architecture.py tests/wire/test_in_process.py tests/wire/test_smoke.py

.PHONY: help setup serve dev quick layers test clients full check faults fuzz soak lint asan debug bench memory attacks sweep vm sink fleet loadtest readme docs site man sdist wheel manylinux sbom installed wheels image fresh clean

help:
	@sed -n 's/^# make/make/p; s/^\([a-z]*\):.*## \(.*\)/make \1 - \2/p' Makefile

# Environments: the usual one, and two with other builds: sanitizers, and bounds checks with costly invariants. Each has
# a stamp for what is in it: what a build needs, then zchttpd, then what the tests need.
ENVS := $(VENV) $(VENV)-asan $(VENV)-debug
SETUP_$(VENV)-asan := -Csetup-args=-Db_sanitize=address,undefined -Csetup-args=-Db_lundef=false
SETUP_$(VENV)-debug := -Csetup-args=-Ddebug_checks=true -Csetup-args=-Dbuildtype=debug
PIP = $(@D)/bin/pip install --quiet --disable-pip-version-check --prefer-binary
REQUIRE = $(@D)/bin/python tools/requires.py $(1) | xargs -d '\n' $(PIP)

$(ENVS:%=%/tools): pyproject.toml
	@PYTHON="$(PYTHON)" tools/need build
	@echo "Installing Python packages in $(@D)"
	@$(PYTHON) -m venv $(@D)
	@$(PIP) $(BUILD_TOOLS)
	@$(call REQUIRE,compress)
	@touch $@

# The hooks are how the tests reach the nogil layers; a plain `pip install .` has none. They are in every build made
# here, so that `make test` after `make serve` compiles nothing.
$(ENVS:%=%/serve): %/serve: %/tools $(SOURCES)
	@echo "Compiling zchttpd; this takes about a minute"
	@[ build/$(@D)/build.ninja -nt meson.options ] || rm -rf build/$(@D) # an option that is new to a build stops it
	@PATH="$(CURDIR)/$(@D)/bin:$$PATH" $(PIP) --no-build-isolation --no-deps \
	    -Cbuild-dir=build/$(@D) -Csetup-args=-Dtest_hooks=true -Csetup-args=-Dpages=disabled $(SETUP_$(@D)) $(if $(wildcard $(@D)/editable),--editable) .
	@touch $@

$(ENVS:%=%/test): %/test: %/serve
	@PYTHON="$(PYTHON)" tools/need test
	@echo "Installing the test tools in $(@D)"
	@$(call REQUIRE,test)
	@touch $@

$(VENV)/lint: $(VENV)/test
	@echo "Installing the linters in $(@D)"
	@$(call REQUIRE,dev)
	@touch $@

$(VENV)/release: $(VENV)/tools
	@PYTHON="$(PYTHON)" tools/need release
	@$(call REQUIRE,release)
	@touch $@

$(VENV)/clients: $(VENV)/test
	@PYTHON="$(PYTHON)" tools/need clients
	@$(call REQUIRE,clients)
	@touch $@

setup: $(VENV)/test ## everything that serve and test need

serve: $(VENV)/serve ## serve www/ and its counters
	$(BIN)/python tools/make_assets.py --port $(PORT) --admin $(ADMIN)
	$(BIN)/zchttpd --root www/ --port $(PORT) --admin $(ADMIN)

dev: $(VENV)/tools ## the same for developers: what is imported is this tree, and compiled when it has changed
	@[ -e $(VENV)/editable ] || { rm -f $(VENV)/serve; touch $(VENV)/editable; }
	@$(MAKE) --no-print-directory setup $(VENV)/lint

quick: $(VENV)/lint ## style, types and the fast tests of each layer, in a minute
	@$(MAKE) --no-print-directory -j2 lint check layers

layers: setup ## the fast tests of each layer alone
	HYPOTHESIS_PROFILE=quick SIM_SEEDS=10 $(VENV)/$(PYTEST) -m "not slow" $(QUICK) $(PYTEST_ARGS)

test: setup check ## the tests, in JOBS (2) processes
	$(VENV)/$(PYTEST) $(PYTEST_ARGS)

clients: $(VENV)/clients ## the tests with real clients: zsync, npm, pip, apt, rclone, nginx, Chromium and more
	$(BIN)/pytest tests/clients $(PYTEST_ARGS)

full: lint check clients ## everything: each HTTP case on each engine in each way of sending, real clients, more seeds, other builds, fuzzers
	HYPOTHESIS_PROFILE=ci SIM_SEEDS=3000 $(VENV)/$(PYTEST) --matrix $(PYTEST_ARGS)
	$(MAKE) asan debug faults fuzz soak SOAK_MINUTES=2

# What is read is the tree, also after `make dev`, whose importer has no directories to walk.
check: setup ## who may import whom
	@PYTHONPATH=. MESONPY_EDITABLE_SKIP="$(CURDIR)/build/$(VENV)" $(BIN)/lint-imports --config pyproject.toml --no-cache >build/imports.log 2>&1 || { cat build/imports.log; exit 1; }

faults: setup ## plant faults in the machine, one by one, and see that the tests find them; PLANTS=WORD for some (15 min)
	$(BIN)/python tests/faults/run.py

fuzz: setup ## the fuzzers, FUZZ_SECONDS (60) each
	$(BIN)/pip install --quiet --disable-pip-version-check 'atheris>=3.0,<4'
	$(BIN)/python tests/fuzz/run.py --seconds $(FUZZ_SECONDS)

# What Python imports of the compiled modules has a stub, which is held against what was compiled.
STUBBED := $(subst /,.,$(basename $(wildcard zchttpd/_core/*.pyi)))
lint: $(VENV)/lint ## style, types, spelling, and what other programs read
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint ext
	$(BIN)/codespell
	$(BIN)/mypy
	MYPYPATH=. $(BIN)/stubtest --concise --allowlist tools/stubtest.allow $(STUBBED)
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml
	$(BIN)/kubernetes-validate --strict --quiet deploy/kubernetes.yaml
	$(BIN)/zizmor --offline --quiet .github

# Time is no measure here: whoever else uses the machine comes first.
SOAK_PYTEST = bin/pytest --capture=no --override-ini=faulthandler_timeout=0 tests/soak
soak: setup ## SOAK_MINUTES (60) of traffic, files and options that change all the time, and what that leaves behind
	SOAK_MINUTES=$(SOAK_MINUTES) nice -n 10 $(VENV)/$(SOAK_PYTEST) $(PYTEST_ARGS)

# Python itself never frees some of what it allocates, so leaks are the business of the leak tests. A sanitizer needs
# memory of its own, two to three times as much: tests that bound it are left out.
SANITIZED = LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" PYTHONMALLOC=malloc \
    ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
asan: $(VENV)-asan/test ## the suite under ASan and UBSan, and a minute of soak
	$(SANITIZED) $(VENV)-asan/$(PYTEST) -m "not resident" $(PYTEST_ARGS)
	$(SANITIZED) SOAK_MINUTES=1 $(VENV)-asan/$(SOAK_PYTEST)

debug: $(VENV)-debug/test ## the suite with bounds checks
	$(VENV)-debug/$(PYTEST) $(PYTEST_ARGS)

# The Python peers have an environment of their own, so that what they need never meets what zchttpd needs. The bench
# does without one that cannot be installed, and says so.
PEERS := 'aiohttp>=3.10' 'granian>=2.7' 'starlette>=0.40' 'uvicorn[standard]>=0.30' 'uvloop>=0.21'
.venv-peers/installed: Makefile
	$(PYTHON) -m venv $(@D)
	for peer in $(PEERS); do \
	    $(@D)/bin/pip install --quiet --disable-pip-version-check "$$peer" || echo "the bench will be without $$peer" >&2; \
	done
	@touch $@

bench: setup .venv-peers/installed ## throughput, CPU per request, latency and memory beside the peers (27 min)
	tools/need bench
	$(BIN)/python -m bench run --json results/bench.json --plots results $(BENCH_ARGS)

attacks: setup ## what honest clients keep while others attack, beside nginx; wants slowhttptest (6 min)
	tools/need bench
	$(BIN)/python -m bench attacks $(BENCH_ARGS)

memory: setup ## memory per connection of clients that do not read, beside nginx
	tools/need bench
	$(BIN)/python -m bench memory $(BENCH_ARGS)

sweep: setup ## options whose best value only measuring tells
	tools/need bench
	$(BIN)/python -m bench sweep $(SWEEP_ARGS)

vm: setup ## zero copy over the card of a virtual machine, and from which size on it pays (10 min)
	tools/need vm
	$(BIN)/python tools/requires.py vm | xargs -d '\n' $(BIN)/pip install --quiet --disable-pip-version-check
	$(BIN)/python -m bench vm --json results/vm.json --plots results --markdown results/vm.md $(VM_ARGS)

sink: setup ## what a send costs on this processor where nothing is copied, beside one that copies; wants root (8 min)
	tools/need sink
	$(BIN)/python -m bench sink --json results/sink.json --markdown results/sink.md $(SINK_ARGS)

fleet: setup ## four servers behind HAProxy in network namespaces: hash against round robin, and changes under load (2 min)
	tools/need fleet
	$(BIN)/python -m bench fleet --json results/fleet.json --markdown results/fleet.md $(FLEET_ARGS)

loadtest: setup ## zero copy against plain sends under locust, with a report
	$(BIN)/locust -f loadtest/ --headless --only-summary -u 50 -r 10 -t 30s $(LOADTEST_ARGS)

readme: setup ## put the figures of the last bench into README.md, docs/figures.md and their charts, of the last vm, sink and fleet into their pages
	$(BIN)/python -m bench run --from-json results/bench.json --readme results/short.md --page results/page.md \
	    --chart docs/cpu.svg >/dev/null
	$(BIN)/python tools/fill.py README.md bench <results/short.md
	$(BIN)/python tools/fill.py docs/figures.md bench <results/page.md
	[ ! -e results/vm.md ] || { $(BIN)/python tools/fill.py docs/card.md vm <results/vm.md && cp results/card.svg results/card.png docs/; }
	[ ! -e results/sink.md ] || $(BIN)/python tools/fill.py docs/card.md sink <results/sink.md
	[ ! -e results/fleet.md ] || $(BIN)/python tools/fill.py docs/many-machines.md fleet <results/fleet.md

docs: setup ## make the tables of docs/options.md and docs/metrics.md again
	$(BIN)/python tools/options_table.py | $(BIN)/python tools/fill.py docs/options.md options
	$(BIN)/python tools/metrics_table.py | $(BIN)/python tools/fill.py docs/metrics.md metrics

site: $(VENV)/test ## all documents as a web site, in build/site
	$(call REQUIRE,docs)
	$(BIN)/mkdocs build --quiet --strict

# The same commit gives the same bytes.
sdist wheel manylinux sbom: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --pretty=%ct 2>/dev/null)

man: $(VENV)/test ## the manual page and the completions of shells, in build/pages/; wheels have them
	mkdir -p build/pages
	for page in man bash zsh fish; do PYTHONPATH=. $(BIN)/python tools/shell_pages.py $$page >build/pages/zchttpd.$$page || exit 1; done

sdist: $(VENV)/release ## the source as a package, in dist/
	$(BIN)/python -m build --sdist --outdir dist

# From the sdist, in an environment made for it. What release.yml builds in containers is built from the same settings.
wheel: $(VENV)/release ## the wheel of this Python, with liburing inside, in dist/, by way of the sdist
	tools/liburing build/liburing
	rm -rf build/wheel
	PKG_CONFIG_PATH="$(CURDIR)/build/liburing/lib/pkgconfig" $(BIN)/python -m build --outdir build/wheel \
	    -Csetup-args=-Ddebug=false -Csetup-args=-Db_ndebug=true -Csetup-args=-During=enabled -Csetup-args=-Dpages=enabled
	PATH="$(CURDIR)/$(BIN):$$PATH" auditwheel repair --strip --wheel-dir dist build/wheel/*.whl
	$(BIN)/auditwheel show "$$(ls -t dist/*.whl | head -n 1)"

manylinux: $(VENV)/release ## the wheels of a release for this machine: every Python, in the manylinux containers; wants Docker
	$(BIN)/cibuildwheel --platform linux --output-dir dist

sbom: $(VENV)/release ## what is in the wheels, as CycloneDX, in dist/
	mkdir -p dist
	$(BIN)/python tools/sbom.py dist/zchttpd.cdx.json

installed: ## put the wheel in dist/ into an environment without anything else, and serve from it with both engines
	rm -rf build/installed
	$(PYTHON) -m venv build/installed
	$(PYTHON) tools/requires.py | xargs -d '\n' build/installed/bin/pip install --quiet --only-binary :all:
	build/installed/bin/pip install --quiet --no-deps --no-index --find-links dist zchttpd
	build/installed/bin/python tools/first_byte.py uring portable

wheels: ## the wheels of Debian 12, 13 and unstable, built there and served from without a compiler; wants root (15 min)
	tools/need fresh
	$(PYTHON) tools/try_wheel.py $(SUITES)

image: $(VENV)/release ## the steps of the Dockerfile in minimal root file systems, and the server as it would run there; wants root (5 min)
	tools/need fresh
	$(BIN)/python tools/try_image.py

fresh: ## serve and quick tests in minimal Debian 12 and 13, as root and with sudo; wants root (20 min)
	tools/need fresh
	$(PYTHON) tools/fresh.py $(SUITES)

clean: ## remove what make made
	rm -rf build .venv .venv-* results
