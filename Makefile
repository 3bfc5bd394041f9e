# One command each; everything they need they install. PYTHON chooses the interpreter, 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ORACLE := .venv-oracle
STAMP := $(VENV)/.installed

.PHONY: install system demo check test oracle journeys audit bench compat minisd minisd-check clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "alphabar needs Python 3.11 or newer; give one: make PYTHON=python3.12 install"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q -c constraints.txt torch || { echo "The CPU build of torch, as pinned in constraints.txt, is nowhere to be found. Tell pip where PyTorch's CPU wheels are (PIP_FIND_LINKS or pip's configuration) and try again; plain torch would bring gigabytes of CUDA."; exit 1; }
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@$(MAKE) --no-print-directory system
	@touch $@

# The isolation layers and the browser of the page tests; without them things run, and say what is missing.
system:
	@missing=""; \
	command -v bwrap >/dev/null || missing="$$missing bubblewrap"; \
	ldconfig -p 2>/dev/null | grep -q libseccomp.so.2 || missing="$$missing libseccomp2"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v chromedriver >/dev/null || missing="$$missing chromium-driver"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing) >/dev/null 2>&1 \
	  || echo "note: apt could not install$$missing; see 'grade doctor' for what that leaves out."; \
	else echo "note: not installed:$$missing. With them: full isolation, and the tests of the pages in a browser."; fi

demo: install
	@rm -rf .grade/demo && mkdir -p .grade/demo && cp fixtures/submissions/one_known_mistake/lab01.py .grade/demo/
	@cd .grade/demo && { ../../$(BIN)/grade lab01; test $$? -le 1; }
	@echo "The report: $(CURDIR)/.grade/demo/.grade/lab01/report.html"

check: install
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q -p no:cacheprovider tests/test_floors.py

test: check oracle
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not sweep and not oracle"

# Witnesses that students do not have. Their environment finds everything else in the graded one, which stays small.
# What these libraries warn of is theirs.
oracle: $(ORACLE)/.installed
	@$(ORACLE)/bin/python -m pytest -q -n 2 -W default -m oracle tests/labs

$(ORACLE)/.installed: $(STAMP)
	@test -x $(ORACLE)/bin/python || $(BIN)/python -m venv $(ORACLE)
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$($(ORACLE)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/graded.pth"
	@$(ORACLE)/bin/python -m pip install -q -c constraints.txt transformers peft accelerate
	@touch $@

# What a student, an instructor, a CI job and an author type, three times each, on a clean clone; `test` has one of each.
journeys: install
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "sweep or not sweep" tests/journeys

audit: install
	@$(BIN)/grade audit

# Trains fixtures/minisd from nothing, goes on where it was stopped, packs and measures it. DEVICE=cuda trains longer.
DEVICE ?= cpu
minisd: install
	@$(BIN)/python -m fixtures.recipes.minisd --device $(DEVICE)
	@$(BIN)/python -m fixtures.recipes.minisd.measure --record

minisd-check: install $(ORACLE)/.installed
	@$(BIN)/python -m fixtures.recipes.minisd.measure
	@$(ORACLE)/bin/python -m pytest -q -W default -m oracle tests/minisd

# The same results with other Pythons, torches, diffusers: installs what it can reach below .compat/, gigabytes at worst.
compat: install
	@$(BIN)/python benchmarks/compat.py

bench: install
	@$(BIN)/python benchmarks/cold_start.py

clean:
	rm -rf $(VENV) $(ORACLE) dist .grade .compat
