VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin

$(BIN)/lt-onnx: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

FOLDERS ?= models

.PHONY: demo wheel test test-long figures fuzz docs check clean
demo: $(BIN)/lt-onnx ## convert a shipped residual network, prove and validate the ticket
	mkdir -p demo
	$(BIN)/lt-onnx convert models/residual.onnx -o demo/residual.ticket.onnx --force \
	  --calibration models/digits.calibration.npz --samples models/digits.samples.npz \
	  --min-agreement 0.97 --report demo/report.html
	$(BIN)/lt-onnx verify demo/residual.ticket.onnx --target models/residual.onnx

wheel: $(BIN)/lt-onnx ## the package, for pip install, in dist/
	rm -rf build  # of an older tree, it would be packed too
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w dist .

test: $(BIN)/lt-onnx ## what CI runs
	$(BIN)/python tools/compile_kernels.py & compiling=$$!; $(MAKE) check && wait $$compiling
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q

test-long: $(BIN)/lt-onnx ## what CI has no time for: more random graphs and forgeries, real networks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q -rs -m long

figures: $(BIN)/lt-onnx ## default tickets of whole folders, beside those of docs/figures.md
	$(BIN)/python tools/figures.py $(FOLDERS)

fuzz: $(BIN)/lt-onnx ## hostile files, a few minutes; more of them with --cases
	for target in reader samples verify unpack; do \
	  $(BIN)/python tools/fuzz.py --target $$target --cases 5000 --workers 2 || exit 1; done

docs: $(BIN)/lt-onnx ## the pages, in site/
	$(BIN)/mkdocs build --strict --quiet

check: $(BIN)/lt-onnx
	$(BIN)/ruff check lt_onnx tests tools
	$(BIN)/ruff format --check lt_onnx tests tools
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build demo dist site
