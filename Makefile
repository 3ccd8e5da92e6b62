# Two commands: `make lab` opens the course, `make test` checks everything in it.
# Everything they make stays in this folder, in .venv/ and .jupyter/.

PYTHON ?= python3
LAB_FLAGS ?=
NOTEBOOKS ?=
N ?= 400
SEED ?=

.PHONY: help lab test test-browser test-site test-live test-nightly test-slow work bench update site lab-page slides notebooks lock hub rehearse clean

help:           ## what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

lab:            ## open the lessons in JupyterLab
	@$(PYTHON) tools/course.py lab $(LAB_FLAGS)

test:           ## form, types, engine, recorded decisions, every notebook
	@$(PYTHON) tools/course.py test

test-browser:   ## every notebook and every control in JupyterLab, with Chromium
	@$(PYTHON) tools/course.py test-browser

work:           ## copy the exercises into work/; what is there is kept
	@$(PYTHON) tools/course.py work

test-live:      ## N=400 fresh random programs on your kernel, against the prediction; SEED repeats some
	@$(PYTHON) -m tests.live_batch $(N) $(SEED)

test-nightly:   ## all tests, with what a push does not need and fresh random examples; then test-live
	@VMAKERNEL_NIGHTLY=1 $(PYTHON) tools/course.py test
	@$(PYTHON) -m tests.live_batch 5000

test-slow:      ## the small world one by one (an hour; it goes on where it was interrupted)
	@PYTHONPATH=. $(PYTHON) tests/slow_explore.py

bench:          ## how long exploring takes, and how long without thinking
	@$(PYTHON) -m benchmarks

update:         ## fetch newer lessons; what you changed is kept in mine/
	@$(PYTHON) tools/course.py update

site:           ## maintainers: the course as pages and live in the browser, in dist/site
	@$(PYTHON) -m tools.site build

lab-page:       ## the toggle lab as a page of its own, without code
	@$(PYTHON) -m tools.site board $(LAB_FLAGS)

test-site:      ## maintainers: make the site, then look at it in a browser without a network
	@$(PYTHON) -m tools.site build
	@$(PYTHON) -m tools.site test

slides:         ## the slides of the two labs, in dist/slides
	@.venv/bin/python -m tools.slides

notebooks:      ## maintainers: run the lessons anew and store what they show
	@$(PYTHON) tools/course.py notebooks $(NOTEBOOKS)

lock:           ## maintainers: pin what pyproject.toml asks for (needs uv; LOCK_FLAGS=--upgrade for newer)
	@uv pip compile --quiet pyproject.toml --extra course --group dev \
		--universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command "make lock" --output-file requirements.txt $(LOCK_FLAGS)
	@uv pip compile --quiet pyproject.toml --extra classroom \
		--universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command "make lock" --output-file requirements-classroom.txt $(LOCK_FLAGS)
	@uv pip compile --quiet pyproject.toml --group browser --constraints requirements.txt \
		--universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command "make lock" --output-file requirements-browser.txt $(LOCK_FLAGS)
	@uv pip compile --quiet pyproject.toml --extra course --extra hub --constraint requirements.txt \
		--universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command "make lock" --output-file requirements-hub.txt $(LOCK_FLAGS)
	@uv pip compile --quiet pyproject.toml --extra site \
		--universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command "make lock" --output-file requirements-site.txt $(LOCK_FLAGS)
	@uv pip compile --quiet pyproject.toml --extra lite \
		--python-platform wasm32-pyodide2024 --python-version 3.14 --generate-hashes --no-annotate \
		--custom-compile-command "make lock" --output-file requirements-lite.txt $(LOCK_FLAGS)

hub:            ## for a class (deploy/README.md): the hub's environment, and the proxy before it
	@$(PYTHON) -m venv .venv-hub
	@.venv-hub/bin/python -m pip install --quiet --require-hashes --requirement requirements-hub.txt
	@.venv-hub/bin/python -m pip install --quiet --no-deps --no-build-isolation --force-reinstall .
	@npm ci --prefix deploy --no-audit --no-fund --loglevel=error

rehearse:       ## as root: a class of thirty on this machine alone, REHEARSE=--learners=5 for fewer
	@.venv-hub/bin/python deploy/rehearse.py $(REHEARSE)

clean:          ## remove what the commands made; your notebooks, mine/ and .jupyter/ stay
	@rm -rf .venv .venv-site dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find vmakernel tools tests -name __pycache__ -type d -exec rm -rf {} +
