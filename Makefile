VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin

$(BIN)/lt-onnx: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

.PHONY: demo test long oracle forgeries fuzz docs check clean
demo: $(BIN)/lt-onnx ## convert a shipped residual network, prove and validate the ticket
	mkdir -p demo
	$(BIN)/lt-onnx convert models/residual.onnx -o demo/residual.ticket.onnx --force \
	  --calibration models/digits.calibration.npz --samples models/digits.samples.npz \
	  --min-agreement 0.97 --report demo/report.html
	$(BIN)/lt-onnx verify demo/residual.ticket.onnx --target models/residual.onnx

test: $(BIN)/lt-onnx check ## what CI runs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q

long: $(BIN)/lt-onnx ## tests that CI has no time for
	LT_ONNX_LONG=1 $(BIN)/python -m pytest -q -rs tests/test_bound.py -k real_targets

oracle: $(BIN)/lt-onnx ## more random graphs than CI has time for
	LT_ONNX_EXAMPLES=300 $(BIN)/python -m pytest -q tests/test_oracle.py -k random

forgeries: $(BIN)/lt-onnx ## every forgery, of which CI tries one in four
	LT_ONNX_EVERY=1 $(BIN)/python -m pytest -n 2 -q tests/test_forgeries.py

fuzz: $(BIN)/lt-onnx ## hostile files, a few minutes; more of them with --cases
	for target in reader samples verify unpack; do \
	  $(BIN)/python tools/fuzz.py --target $$target --cases 5000 --jobs 2 || exit 1; done

docs: $(BIN)/lt-onnx ## the pages, in site/
	$(BIN)/mkdocs build --strict --quiet

check: $(BIN)/lt-onnx
	$(BIN)/ruff check lt_onnx tests tools
	$(BIN)/ruff format --check lt_onnx tests tools
	$(BIN)/mypy

clean:
	rm -rf $(VENV) demo site
