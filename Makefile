# make demo | demo-cluster | test | check | fix | bench | worlds | score | docs | setup. Needs Python 3.11+, make and the package registries.
DURATION ?= 60
MINUTES ?= 10
PYTHON ?= python3
ARGS ?=

# The demo runs in the base environment; tests have their own, with the training and development tools.
BASE := .venv-base
DEV := .venv
UV := .venv-uv/bin/uv
DATA := $(wildcard ../shared/data)

ifneq ($(DATA),)
export REID_STREAM_DATA ?= $(abspath $(DATA))
endif
# Keeps ultralytics from installing packages.
export YOLO_AUTOINSTALL := false
# Copies files where the cache is on another disk, without a warning.
export UV_LINK_MODE ?= $(if $(CI),copy,hardlink)
# Ignores an active environment.
unexport VIRTUAL_ENV

.PHONY: demo demo-cluster drill test test-all check fix bench peers worlds simulate client score setup requirements sbom docs clean

demo: $(BASE)/.ready
	@$(BASE)/bin/python -m reid_stream.commands.demo
	@$(BASE)/bin/reid-stream --cameras .demo/cams.yaml --duration $(DURATION) $(ARGS)

# The same on many hosts, all of them here: two perceive hosts, identification, one on standby, Redis. Ctrl-C ends it.
demo-cluster: $(BASE)/.ready
	@$(BASE)/bin/python -m reid_stream.commands.demo_cluster $(ARGS)

# The quick tier, on two cores in parallel; `make test-all` adds whole daemons, drills and trainings, which wait more than
# they compute: twice as many processes as cores.
test: $(DEV)/.ready
	$(DEV)/bin/python -m pytest -m "not slow" -n 2 --dist loadfile $(ARGS)

test-all: $(DEV)/.ready
	$(DEV)/bin/python -m pytest -n 4 --dist loadfile $(ARGS)

check: $(DEV)/.ready
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/ruff check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports

fix: $(DEV)/.ready
	$(DEV)/bin/ruff format .
	$(DEV)/bin/ruff check --fix .

bench: $(DEV)/.ready
	$(DEV)/bin/python -m benchmarks speed all --readme docs/benchmarks/speed.md $(ARGS)

# Other projects on the same clips, in an environment of about 6 GB.
PEERS := .venv-peers
peers: $(DEV)/.ready $(PEERS)/.ready
	$(DEV)/bin/python -m benchmarks peers --python $(PEERS)/bin/python $(ARGS)

worlds: $(DEV)/.ready
	$(DEV)/bin/python -m trainer.data.worlds $(ARGS)

# Fault injection on cameras and Redis; ARGS=--short takes a minute.
drill: $(DEV)/.ready
	$(DEV)/bin/python -m benchmarks drill redis $(ARGS)
	$(DEV)/bin/python -m benchmarks drill crash $(ARGS)
	$(DEV)/bin/python -m benchmarks drill state $(ARGS)
	$(DEV)/bin/python -m benchmarks drill cameras $(ARGS)
	$(DEV)/bin/python -m benchmarks drill overload $(ARGS)
	$(DEV)/bin/python -m benchmarks drill metrics $(ARGS)
	$(DEV)/bin/python -m benchmarks drill embedded $(ARGS)

# Simulated people and the real matcher: JSON and plots in OUT. Takes minutes to an hour.
OUT ?= runs/simulate
simulate: $(DEV)/.ready
	$(DEV)/bin/python -m benchmarks simulate dial --calm --json $(OUT)/dial-calm.json --plot $(OUT)/dial-calm.png $(ARGS)
	$(DEV)/bin/python -m benchmarks simulate dial --json $(OUT)/dial.json --plot $(OUT)/dial.png $(ARGS)
	$(DEV)/bin/python -m benchmarks simulate ablation --json $(OUT)/ablation.json --plot $(OUT)/ablation.png $(ARGS)
	$(DEV)/bin/python -m benchmarks speed matcher --json $(OUT)/matcher.json
	$(DEV)/bin/python -m benchmarks speed day --json $(OUT)/day.json --plot $(OUT)/day.png

# Coverage-guided fuzzing for MINUTES in all; atheris is installed beside the test environment.
fuzz: $(DEV)/.ready
	@test -d .venv-fuzz || $(UV) pip install --quiet --require-hashes --python $(DEV)/bin/python --target .venv-fuzz -r requirements/fuzz.txt \
		|| echo "fuzz: no atheris for this Python; input is mutated at random"
	PYTHONPATH=.venv-fuzz $(DEV)/bin/python -m tests.fuzz --minutes $(MINUTES) $(ARGS)

# A typed client is generated from the API's description and used on a real server, in an environment of its own.
CLIENT := .venv-client
client: $(DEV)/.ready $(CLIENT)/.ready
	REID_STREAM_CLIENT=$(CURDIR)/$(CLIENT)/bin/python $(DEV)/bin/python -m pytest -q tests/web/test_client.py

score: $(DEV)/.ready
	$(DEV)/bin/python -m benchmarks accuracy score $(ARGS)

setup: $(BASE)/.ready $(DEV)/.ready

# Generates the reference pages, then the site in site/; --strict fails on wrong links and anchors.
docs: $(DEV)/.ready
	$(DEV)/bin/python -m docs.generators
	NO_MKDOCS_2_WARNING=1 $(DEV)/bin/python -m mkdocs build --strict
	@echo "docs: open site/index.html"

# The runtime's components with versions, hashes and licences (CycloneDX), and a table of the licences; offline.
sbom: $(DEV)/.ready
	$(DEV)/bin/python deploy/sbom.py --out build/sbom

# New pins with hashes, for every Python and machine; no index host is written into them. PINS=keep adds what is missing only.
COMPILE = $(UV) pip compile --universal --generate-hashes --quiet --no-header --no-annotate $(if $(filter keep,$(PINS)),,--upgrade)
requirements: $(UV)
	$(COMPILE) requirements/build.in -o requirements/build.txt >/dev/null
	$(COMPILE) pyproject.toml --extra headless -o requirements/base.txt >/dev/null
	$(COMPILE) pyproject.toml -c requirements/base.txt --extra headless --extra dev --extra docs --extra train \
		--extra eval --extra parquet --extra rtx --extra int8 -o requirements/dev.txt >/dev/null
	$(COMPILE) requirements/peers.in -o requirements/peers.txt >/dev/null
	$(COMPILE) requirements/fuzz.in -o requirements/fuzz.txt >/dev/null
	$(COMPILE) requirements/client.in -o requirements/client.txt >/dev/null

clean:
	rm -rf .demo site $(BASE) $(DEV) $(PEERS) $(CLIENT) .venv-fuzz .venv-uv

$(UV): requirements/build.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else \
		f"Python 3.11 or newer is needed, {v[0]}.{v[1]} was found; name another: make PYTHON=python3.12 ...")'
	@echo "setup: the installer (uv)"
	@$(PYTHON) -m venv .venv-uv || { echo "setup: 'python3 -m venv' does not work; install it (Debian: apt-get install python3-venv)"; exit 1; }
	@.venv-uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt
	@touch $@

# Every file is checked against its hash in requirements/, the build tools included.
SYNC = $(UV) pip sync --require-hashes
INSTALL = $(UV) pip install --quiet --no-deps --build-constraints requirements/build.txt

$(BASE)/.ready: requirements/base.txt pyproject.toml | $(UV)
	@echo "setup: the daemon, about 740 MB below $(BASE)"
	@test -x $(BASE)/bin/python || $(UV) venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(BASE)
	$(SYNC) --python $(BASE)/bin/python requirements/base.txt
	@$(INSTALL) --python $(BASE)/bin/python --editable .
	@touch $@

# Without an NVIDIA GPU torch and torchvision come as CPU builds of the pinned versions (2.8 GB in all). Their index,
# PyTorch's own unless TORCH_INDEX names another (a URL, or a folder of wheels), has no hashes in requirements/; all other
# packages are checked against theirs. Where it cannot be reached, the registry's build has to do, with CUDA libraries
# (6.2 GB) but without triton, which only GPUs use; every hash is checked then. With a GPU, TORCH_INDEX is not used.
TORCH_INDEX ?=
NVIDIA := $(shell command -v nvidia-smi 2>/dev/null)
without = awk '/^[A-Za-z]/ { kept = !/^($(1))[=-]/ } kept' requirements/dev.txt
TORCH_FROM = $(if $(TORCH_INDEX),$(if $(wildcard $(TORCH_INDEX)/*.whl),--no-index --find-links,--default-index) "$(TORCH_INDEX)",--torch-backend cpu)
ifeq ($(NVIDIA),)
define SYNC_DEV
{ $(call without,torch|torchvision|nvidia|cuda|triton) > $(DEV)/cpu.txt; $(call without,triton) > $(DEV)/no-gpu.txt; \
$(SYNC) --quiet --python $(DEV)/bin/python $(DEV)/cpu.txt && \
UV_HTTP_TIMEOUT=20 $(UV) pip install --quiet --no-deps --python $(DEV)/bin/python $(TORCH_FROM) \
$$(sed -nE 's/^(torch|torchvision)(==[^ ;]+).*/\1\2/p' requirements/dev.txt) $(if $(TORCH_INDEX),,2>/dev/null) || { \
$(if $(TORCH_INDEX),echo "setup: TORCH_INDEX must hold CPU builds of the pinned torch and torchvision: $(TORCH_INDEX)"; exit 1,\
echo "setup: torch's CPU build cannot be reached (TORCH_INDEX=URL names another index); its CUDA build is taken (6.2 GB)"; \
$(SYNC) --python $(DEV)/bin/python $(DEV)/no-gpu.txt); }; }
endef
else
SYNC_DEV = $(SYNC) --python $(DEV)/bin/python requirements/dev.txt
endif

$(DEV)/.ready: requirements/dev.txt pyproject.toml | $(UV)
	@echo "setup: tests and training below $(DEV)"
	@test -x $(DEV)/bin/python || $(UV) venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(DEV)
	@$(SYNC_DEV)
	@$(INSTALL) --python $(DEV)/bin/python --editable .
	@touch $@

$(PEERS)/.ready: requirements/peers.txt | $(UV)
	@echo "setup: ultralytics and BoxMOT, about 6 GB below $(PEERS)"
	@test -x $(PEERS)/bin/python || $(UV) venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(PEERS)
	$(SYNC) --python $(PEERS)/bin/python requirements/peers.txt
	@touch $@

$(CLIENT)/.ready: requirements/client.txt | $(UV)
	@test -x $(CLIENT)/bin/python || $(UV) venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(CLIENT)
	$(SYNC) --quiet --python $(CLIENT)/bin/python requirements/client.txt
	@touch $@
