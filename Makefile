# The two commands to remember: `make run` and `make test`.
.PHONY: run test test-long suite-postgres setup-run test-env lint suite e2e golden advisories sbom bench fuzz screenshots pictures
SHELL := /bin/bash

# Serves a working demo on http://127.0.0.1:8080, with its store in ./data.
run: setup-run
	cargo build --release --locked
	@exec target/release/daypass serve --demo

# C libraries for SAML (libxmlsec1) and what Rust needs to bind them.
RUN_PACKAGES = pkg-config gcc g++ make clang libclang-dev libxmlsec1-dev libssl-dev
setup-run:
	@missing=$$(for p in $(RUN_PACKAGES); do dpkg-query -W -f='$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	  sudo=$$([ "$$(id -u)" = 0 ] || echo sudo); echo "installing:" $$missing; \
	  $$sudo apt-get update -q && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -q --no-install-recommends $$missing; \
	fi

# Everything: formatting, lints, licences, the suite, and real identity providers, browsers and AWS clients.
test: test-env lint suite e2e

# What setup printed, for the steps after it.
test-env:
	@mkdir -p target && bash tests/setup.sh > target/test-env

lint:
	cargo fmt --check
	. target/test-env && cargo clippy --all-targets --locked -- -D warnings
	. target/test-env && cargo deny --log-level error check licenses bans sources

suite:
	. target/test-env && tests/with-postgres.sh cargo nextest run --locked

# The suite with every store of it in PostgreSQL, instead of the store's own tests alone.
suite-postgres: test-env
	. target/test-env && DAYPASS_TEST_STORE=postgres tests/with-postgres.sh cargo nextest run --locked -E 'binary(suite) and not test(/^drills::/)'

# What takes long: the suite on PostgreSQL, and 10,000 browsers that sign in at once at the program as it is released.
test-long: suite-postgres
	cargo build --release --locked
	. target/test-env && DAYPASS_LONG=1 DAYPASS_BINARY=$(CURDIR)/target/release/daypass tests/with-postgres.sh cargo nextest run --locked --no-capture -E 'test(/^drills::crowd/)'

e2e:
	cargo build --locked --bins --examples
	. target/test-env && "$$E2E_NODE" --test --test-reporter=spec --test-concurrency=2 --test-force-exit tests/e2e/*.test.mjs

# Rewrites tests/golden after a look at what changed.
golden:
	UPDATE=1 cargo nextest run golden

# Known vulnerabilities of dependencies; fetches the advisory database.
advisories:
	cargo deny check advisories

# A CycloneDX list of everything that is linked, C libraries included: target/daypass.cdx.json.
sbom:
	command -v cargo-cyclonedx >/dev/null || cargo install --quiet --locked cargo-cyclonedx
	cargo cyclonedx --format json --override-filename sbom && mv sbom.json target/crates.cdx.json
	for p in libxml2 libxmlsec1 libxslt1.1 libssl3; do dpkg-query -W -f='{"type":"library","name":"$${Package}","version":"$${Version}","purl":"pkg:deb/debian/$${Package}@$${Version}"}\n' $$p; done > target/system.jsonl
	jq --slurpfile system target/system.jsonl '.components += $$system' target/crates.cdx.json > target/daypass.cdx.json

bench: test-env
	. target/test-env && cargo bench --locked

# Fifteen minutes for each fuzz target; wants a nightly toolchain and cargo-fuzz (cargo install cargo-fuzz).
FUZZ_SECONDS = 900
FUZZ_TARGETS = policy_parser policy_evaluator saml_response saml_metadata redirect_query id_token discovery scim dpop
fuzz:
	cd tests/fuzz && for target in $(FUZZ_TARGETS); do mkdir -p corpus/$$target seeds/$$target; \
	  cargo +nightly fuzz run --fuzz-dir . $$target corpus/$$target seeds/$$target -- \
	    -max_total_time=$(FUZZ_SECONDS) -timeout=10 -max_len=16384 -close_fd_mask=2 || exit 1; done

# Pages in light, dark and phone width, into target/screenshots, to be looked at.
screenshots: test-env
	cargo build --locked
	. target/test-env && E2E_SCREENSHOTS=target/screenshots "$$E2E_NODE" --test --test-force-exit tests/e2e/pages.test.mjs

# The pictures of the README and of the help in the console. Look at them before you commit.
pictures: test-env
	cargo build --locked
	. target/test-env && "$$E2E_NODE" tests/e2e/pictures.mjs
