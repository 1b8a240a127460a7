# Springtide: `make hub` starts the platform, `make help` names the rest.
# ARGS go to the command behind a target: make hub ARGS="--lab my-lab.yaml", make test ARGS="tests/lab -x".
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help hub install test faults lint format bench images registry lock clean
ARGS ?=

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

hub: install ## Start the platform on this machine; Ctrl-C stops it
	@exec .venv/bin/springtide up $(ARGS)

install: ## Make .venv with the springtide command
	@.ci/setup-python hub

test: ## Run lint and all tests on real services; with ARGS: pytest with these arguments only
	@[[ $$(id -u) -ne 0 ]] || .ci/setup-system test
	@.ci/setup-python test
	@$(if $(strip $(ARGS)),,$(MAKE) --no-print-directory lint)
	$(if $(strip $(ARGS)),.venv/bin/pytest $(ARGS),.ci/run-tests)

faults: ## Try 1,000 random schedules of faults on the cluster's reconciler, in virtual time
	@.ci/setup-python test
	SPRINGTIDE_FAULT_SCHEDULES=1000 .venv/bin/python -m pytest tests/cluster/test_faults.py $(ARGS)

lint: ## Check style and types
	@.ci/setup-python test
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

format: ## Format the code
	@.ci/setup-python test
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

bench: ## Measure what BENCHMARKS.md reports
	@.ci/setup-python test
	.venv/bin/python -m pytest --capture=no --override-ini=timeout=3600 --override-ini='python_files=bench_*.py' \
		--override-ini='python_functions=bench_*' tests/benches $(ARGS)

images: install ## Build the container images of the environments
	.venv/bin/python -m springtide.environments.build $(ARGS)

registry: install ## Run the lab's own image registry; Ctrl-C stops it
	@exec .venv/bin/springtide registry up $(ARGS)

lock: ## Write the lock files again; ARGS=--upgrade takes newer versions
	.ci/lock $(ARGS)

clean: ## Remove .venv and what tests and tools left behind
	if [ -L .venv ]; then rm -rf "$$(readlink -f .venv)"; fi
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache test-results dist
	find extensions tests hub_config kernels -name __pycache__ -type d -prune -exec rm -rf {} +
