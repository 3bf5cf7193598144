# `make` alone lists the targets. GNU make and a plain sh are enough.

SHELL := /bin/sh
CARGO ?= cargo
# Passed on to `cargo test`, such as TESTARGS='connect -- --nocapture'.
TESTARGS ?=
# Passed on to the demo.
ARGS ?=

# On CI the control plane is built from source, since only that has a controller manager.
# A cluster that was named is taken as it is.
FETCH_FLAGS := $(if $(TEST_KUBECONFIG),,$(if $(filter true 1,$(CI)),--build))

.DEFAULT_GOAL := help
.PHONY: help demo test e2e image image-check plugin-archives krew fuzz faults chaos bench lint lint-format lint-clippy lint-doc \
	lint-deny crds chart chart-lint book screenshots fmt

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Binaries and example are built together: apart, cargo would build kube twice, with and without
# the features that only tests use.
demo: ## Connect a project to an app on this machine; ARGS go to the demo
	$(CARGO) build --bins --example demo
	$(CARGO) run --quiet --example demo -- $(ARGS)

test: ## Run all tests; TESTARGS go to cargo test
	$(CARGO) build --bins --examples
	$(CARGO) run --quiet --example cluster -- fetch $(FETCH_FLAGS)
	$(if $(filter true 1,$(CI)),$(CARGO) run --quiet --example cluster -- build helm)
	$(CARGO) test --lib --bins --tests $(if $(filter true 1,$(CI)),--no-fail-fast) $(TESTARGS)

e2e: ## Install image and chart on a real node and use them; CLUSTER=kind, or a kubeconfig, for another cluster
	$(CARGO) build --example e2e --example cluster --example image
	CLUSTER=$(or $(CLUSTER),node) $(CARGO) run --quiet --example e2e -- $(ARGS)

# Where the image goes; TARGET names another target of rustc than this machine's.
IMAGE ?= target/image/integration-operator.tar

image: ## Write the container image as an OCI archive, without Docker
	program="$$(tools/build-static integration-operator)" && \
		$(CARGO) run --quiet --example image -- --operator "$$program" --output $(IMAGE)

image-check: image ## Build the image again from a copy elsewhere, and compare
	tools/check-image $(IMAGE)

# Where the archives of the plugin go, and from where krew is to fetch them.
PLUGINS ?= target/plugin
PLUGIN_URL ?= https://example.com/integration-operator/v@VERSION@
PLUGIN_HOMEPAGE ?= https://example.com/integration-operator

plugin-archives: ## Build the kubectl plugin for the platforms whose toolchain is at hand; PLATFORMS names some
	plugins/archives $(PLUGINS)

krew: ## Write the manifest for krew from the archives that were built; PLUGIN_URL says where they will lie
	plugins/krew/fill $(PLUGINS) '$(PLUGIN_URL)' '$(PLUGIN_HOMEPAGE)' >$(PLUGINS)/integration.yaml
	@echo $(PLUGINS)/integration.yaml

fuzz: ## Try expressions at random, CASES of them
	CASES=$(or $(CASES),200000) $(CARGO) test --test expressions -- --nocapture $(TESTARGS)

faults: ## Spoil each request of each operation in turn, half an hour long, then `chaos`; ONLY names some cells
	FAULTS=full $(CARGO) test --test faults -- --nocapture $(TESTARGS)
	$(MAKE) chaos

# INTEGRATION_OPERATOR names another binary, such as one that was built with --release.
chaos: ## Kill, freeze and mislead the operator at random; KILLS, SECONDS and SEED change for how long, and how
	env KILLS=$(or $(KILLS),1000) SECONDS=$(or $(SECONDS),600) INTEGRATIONS=$(or $(INTEGRATIONS),40) \
		$(CARGO) test --test chaos -- --nocapture --test-threads 1 $(TESTARGS)

bench: ## Measure refreshes, memory, an outage and a start; STAGES and INTEGRATIONS choose, see docs/scaling.md
	$(CARGO) bench --bench refresh

lint: lint-format lint-clippy lint-doc lint-deny ## Check format, lints, documentation, licences and advisories

lint-format:
	$(CARGO) fmt --all --check

lint-clippy:
	$(CARGO) clippy --locked --all-targets -- -D warnings

lint-doc:
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --document-private-items

# All checks by default; the gate leaves out the advisories, which change while the source does not.
DENY_CHECKS ?=
lint-deny:
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		echo "$(CARGO) deny check $(DENY_CHECKS)"; \
		$(CARGO) deny --locked --all-features check --hide-inclusion-graph $(DENY_CHECKS); \
	else \
		echo "Licences and advisories were not checked. To have them checked: cargo install --locked cargo-deny"; \
	fi

fmt: ## Format the source
	$(CARGO) fmt --all

# `quick` leaves out promtool, which takes some ten minutes to build.
CHART_LINT ?=
chart-lint: ## Have the chart looked at by Helm, kubeconform, kube-score and promtool
	tests/chart/lint.sh $(CHART_LINT)

chart: ## Write what is generated of the chart, and pack it into target/chart/
	UPDATE=1 $(CARGO) test --test generated chart
	UPDATE=1 $(CARGO) test --test chart the_tests_run_with_the_rights_of_the_chart
	"$$($(CARGO) run --quiet --example cluster -- build helm)" package charts/integration-operator --destination target/chart

crds: ## Write the generated files: crds/ and the reference pages in docs/
	UPDATE=1 $(CARGO) test --test generated

# Built once, in some minutes, and kept beside the control plane of the tests; MDBOOK names another.
MDBOOK_VERSION := 0.5.4
MDBOOK_ROOT := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/integration-operator/tools/mdbook-$(MDBOOK_VERSION)
MDBOOK ?= $(MDBOOK_ROOT)/bin/mdbook

book: ## Make a book of docs/, in target/book
	@command -v $(MDBOOK) >/dev/null || { \
		echo "building mdbook $(MDBOOK_VERSION), once, in some minutes"; \
		$(CARGO) install --quiet --locked mdbook --version $(MDBOOK_VERSION) --no-default-features --features search \
			--root $(MDBOOK_ROOT); }
	rm -rf target/book
	$(MDBOOK) build
	cp -R examples charts target/book/
	mkdir -p target/book/src/provider && cp -R src/provider/catalogue target/book/src/provider/
	@echo "open target/book/docs/index.html"

screenshots: ## Write docs/images/, the pictures of the pages for people; needs Chromium
	UPDATE_SCREENSHOTS=1 $(CARGO) test --test it pictures_for_the_documentation
