# Each target sets itself up from nothing into .venv and does nothing twice.
PYTHON ?= python3
BIN := .venv/bin
# Many images set it; then each of some hundred processes compiles all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install install-dev demo test test-slurm test-ray lint format house bench check-gpu bench-trainer bench-workers bench-racing bench-search bench-simulate bench-coverage \
	bench-watching bench-knobs record-curves shipped-priors screenshots

# What a user needs; `make test` and `make lint` install what a developer needs beside it.
install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@echo "Installing into .venv: downloads several hundred MB, takes about 1.8 GB on the disk."
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --constraint constraints.txt torch
	$(BIN)/python -m pip install --constraint constraints.txt --editable .
	touch $@

install-dev: .venv/.installed-dev

.venv/.installed-dev: .venv/.installed
	@echo "Installing what tests and checks need: downloads about 0.2 GB more, takes about 0.7 GB more."
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# The main job on the embedded default: search with two workers, export, ensemble, submission.
demo: install
	$(BIN)/foldrace run demo --workers 2
	$(BIN)/foldrace export demo
	$(BIN)/foldrace final runs/demo/final.toml --workers 2

test: install-dev
	$(BIN)/pytest --numprocesses 5 --dist loadgroup

# Workers under a real Slurm: the machine's own programs, or Debian's unpacked into .slurm; it leaves the machine as it is. Needs root.
test-slurm: install-dev .slurm/.unpacked
	$(BIN)/pytest tests/slurm -m slurm --durations=0

# Workers on a Ray cluster of three nodes, all on this machine.
test-ray: install-dev
	RAY_raylet_start_wait_time_s=120 $(BIN)/pytest tests/ray -m ray

.slurm/.unpacked:
	mkdir -p .slurm/packages
	apt-get install --simulate --no-install-recommends slurmctld slurmd slurm-client munge | awk '/^Inst/ { print $$2 }' > .slurm/missing
	cd .slurm/packages && xargs --no-run-if-empty apt-get download < ../missing
	find .slurm/packages -name '*.deb' -print0 | xargs -0 --no-run-if-empty -I{} dpkg -x {} .slurm
	touch $@

lint: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m benchmarks.house

# How large the parts of the code are, and which are above their limits.
house: install-dev
	$(BIN)/python -m benchmarks.house

format: install-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Measurements; docs/benchmarks.md and docs/lab/ hold what they gave.
KLUE ?= ../shared/data/klue_re/train.csv
ENCODER ?= monologg/koelectra-small-v3-discriminator

bench: bench-trainer bench-workers bench-racing bench-watching

# On a CUDA device, under whatever Python has torch: nothing is installed or downloaded.
check-gpu:
	$(PYTHON) -m benchmarks.check_gpu

bench-trainer: install-dev
	$(BIN)/python -m benchmarks.trainer

bench-workers: install-dev
	$(BIN)/python -m benchmarks.workers

bench-racing: install-dev
	for file in benchmarks/curves/*.jsonl; do $(BIN)/python -m benchmarks.racing --curves $$file || exit 1; done

# Searches in memory, on data sets fitted to the recorded curves; goes on where it was cut off.
bench-simulate: install-dev
	$(BIN)/python -m benchmarks.sampling
	for file in benchmarks/curves/*.jsonl; do $(BIN)/python -m benchmarks.simulate --curves $$file || exit 1; done

# Small studies, each with a rescore, and what their leaders are worth on fresh data; goes on where it was cut off.
bench-coverage: install-dev
	$(BIN)/python -m benchmarks.coverage

# Knobs on and off, on KLUE-RE with a pretrained encoder; goes on where it was cut off.
bench-knobs: install-dev
	$(BIN)/python -m benchmarks.ablations --data $(KLUE) --model $(ENCODER) --output runs/knobs.jsonl

# Needs chromium, as the tests of the dashboard do.
bench-watching: install-dev
	$(BIN)/python -m benchmarks.watching

# The pictures of the README; runs the demo for them.
screenshots: install-dev
	$(BIN)/python -m benchmarks.screenshots

# The priors that are shipped, from the recorded curves.
shipped-priors: install-dev
	$(BIN)/python -m benchmarks.shipped_priors

# The same search with two pruners, live.
bench-search: install-dev
	$(BIN)/python -m benchmarks.search --data $(KLUE)

# Goes on where the recordings end.
record-curves: install-dev
	$(BIN)/python -m benchmarks.record_curves klue_re --data $(KLUE)
	$(BIN)/python -m benchmarks.record_curves demo --configs 40
