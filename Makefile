PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE := 1
# A file's tests in one process, in the order that tests/quick.py gives the files.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: setup demo check test coverage lint types \
  bench bench-burned-in bench-copies bench-embedding bench-hybrid bench-index bench-labels bench-languages bench-marks bench-masking bench-memory bench-novelty bench-peers bench-privacy bench-serve bench-settings bench-speech bench-towers bench-viewer \
  browser clean crash docs fuzz light screenshots

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) .ci/set_up.py $(VENV)
	@touch $@

# The whole way on a drawn cohort: some 3 minutes after the set-up.
demo: setup
	@$(BIN)/medclip demo --out demo --force

demo/model:
	$(MAKE) demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy -p medclip

# For while one works: a minute or so. A test that takes longer than the limit must be marked slow (tests/quick.py).
check: lint types
	$(BIN)/python -m pytest -q $(PARALLEL) -m "not slow" --quick-limit 15

# Debian's Chromium, for the tests of pages; without it they are skipped.
browser:
	@sh .ci/chromium.sh

# Everything: some 15 to 25 minutes on two cores.
test: lint types browser
	$(BIN)/python -m pytest -q $(PARALLEL) --durations 10

# The same, and what of each room was run, lines and branches; fails where a room falls below 80 %.
coverage: lint types browser
	$(BIN)/python -m pytest -q $(PARALLEL) --cov --cov-report=json:.coverage.json
	$(BIN)/python .ci/coverage_by_room.py .coverage.json

# The pictures of docs/how-to/serve.md, taken of the demo's archive.
screenshots: demo/model browser
	PYTHONPATH=. $(BIN)/python docs/screenshots.py demo

# The site of docs/, into site/; what it needs beside .venv is put into .venv-docs.
docs: setup
	test -d .venv-docs || $(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -r docs/requirements.lock
	PYTHONPATH="$(CURDIR):$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')" .venv-docs/bin/python -m mkdocs build --strict

# What a hospital workstation installs: proves that query, similar and index need no torch, and weighs it.
light: demo/model
	sh benchmarks/light_install.sh $(PYTHON)

bench: setup
	$(BIN)/python benchmarks/bench.py

# The index engine at 1,000,000 cases beside FAISS, autofaiss (if installed) and exact search: some 8 minutes, 6 GB of disk.
bench-index: demo/model
	$(BIN)/python benchmarks/bench_index.py --growth docs/growth.png

# The index engine beside its peers (FAISS, autofaiss, ScaNN, usearch, hnswlib; LanceDB, zvec, Qdrant Edge, Chroma, sqlite-vec,
# pgvector, Milvus Lite; clip-retrieval), each in an environment of its own in ~/.cache/medclip-peers, which pip fills (some
# 9 GB, most of it clip-retrieval's torch): at 1,000,000 cases up to 20 minutes a peer, so some 5 hours, 12 GB of disk and
# 12 GB of memory, on a machine that does nothing else. Results are kept as they come, so it goes on where it was stopped.
# PEERS="--cases 50000 --only ours faiss-ivf" for less; PEERS="--table" prints what was measured.
bench-peers: demo/model
	PYTHONPATH=.:benchmarks $(BIN)/python -P -m peers --out peers.json --picture docs/peers.png $(PEERS)

# The memory that building and adding take, by the number of cases (64 to 100,000): some 15 minutes, 6 GB of disk.
bench-memory: demo/model
	$(BIN)/python benchmarks/bench_memory.py

# Vectors, words and both for text queries, on MedPix: CASES and INDEX (of its train split) name what docs/figures.md makes.
bench-hybrid: setup
	$(BIN)/python benchmarks/hybrid.py $(CASES) $(INDEX)

# What one liked and one unliked case do to the cases that are shown: a minute; GRID=--grid for other weights. As above.
bench-marks: setup
	$(BIN)/python -W ignore benchmarks/marks.py $(CASES) $(INDEX) $(GRID)

# 20,000 damaged scans, cases, indexes, exports and models: some 25 minutes on two cores. None may crash, take over 10 s or
# 1 GiB, or change a file elsewhere. FUZZ="--seed 1 --kinds scan" for others.
fuzz: setup
	$(BIN)/python benchmarks/fuzz $(FUZZ)

# Words of their own diagnosis that are left in MedPix' cases after ``cases mask``, found without the masker; a minute.
bench-masking: setup
	$(BIN)/python -P benchmarks/masking.py

# What an archive of CASES says of scans and texts that it holds nothing like, those of XRAYS among them: some 10 minutes.
bench-novelty: setup
	$(BIN)/python -W ignore benchmarks/novelty.py $(CASES) --xrays $(XRAYS)

# Planted identifiers that de-identification removes, and other words that it takes along: some 4 minutes.
bench-privacy: setup
	$(BIN)/python -W ignore benchmarks/privacy.py

# Every command that writes, killed 2,000 times at random moments, alone and beside another: some two hours on two cores.
crash: setup
	PYTHONPATH=. $(BIN)/python benchmarks/crash.py

# Findings read from 3,927 real reports against their hand-given codes (needs: pip install --no-deps torchxrayvision).
bench-labels: setup
	$(BIN)/python benchmarks/labels.py

# Dictations and Chinese captions, on MedPix: CASES, INDEX and MODEL name what docs/figures.md makes.
bench-speech: setup
	$(BIN)/python benchmarks/speech.py $(CASES) $(INDEX)

bench-languages: setup
	$(BIN)/python benchmarks/languages.py $(CASES) $(MODEL)

# Which altered copies of scans the check of cases recognises: half a minute. CASES as above.
bench-copies: setup
	$(BIN)/python benchmarks/copies.py $(CASES)

# Where the time of embedding goes, stage by stage: half a minute. CASES as above, MODEL a model folder.
bench-embedding: setup
	$(BIN)/python benchmarks/embedding.py $(CASES) $(MODEL)

# Diagnosis words written into real scans that the check of cases reads, and what it says of them as they are: some 10
# minutes on two cores. CASES as above.
bench-burned-in: setup
	$(BIN)/python benchmarks/burned_in.py $(CASES)

# What towers of the published sizes (BiomedCLIP's, RAD-DINO's, MedSigLIP's) cost, with random weights: some 20 minutes, 16 GB of
# memory and 12 GB of disk; TOWERS="--only default biomedclip" for less.
bench-towers: setup
	$(BIN)/python -W ignore benchmarks/towers.py $(TOWERS)

# How soon the server opens and answers, and 20 people at once: some 4 minutes, on a machine that does nothing else.
bench-serve: demo/model
	PYTHONPATH=. $(BIN)/python benchmarks/serve.py demo/index demo/cases/scans/sample-005-0.png

# Frames a second while window and level of a slice are dragged, in Chromium: a minute.
bench-viewer: demo/model
	PYTHONPATH=. $(BIN)/python -W ignore benchmarks/viewer.py demo

# How much each knob of training matters, on MedPix's dev split: some 20 minutes. CASES as above.
bench-settings: setup
	$(BIN)/python benchmarks/settings.py $(CASES)

clean:
	rm -rf $(VENV) .venv-light .venv-docs site demo fuzz-failures build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
