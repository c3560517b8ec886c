# Short names for what cargo does. Nothing is decided here.
.PHONY: help demo demo-down test generate lint image

help: ## Say what there is.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: ## Show the operator at work on a cluster of its own; root on Linux shows the whole of it.
	@cargo xtask demo

demo-down: ## Take the demo's cluster down.
	@cargo xtask demo down

test: ## Run every test; the clusters that they need come up and go down.
	@cargo xtask test

generate: ## Write CRDs, roles and the API reference anew.
	@cargo xtask generate

lint: ## Formatting, lints, licences and documentation of the code.
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	@RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
	@cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny@0.20.2
	@cargo deny --locked check licenses bans sources

image: ## Write the operator's image to target/image/modelsync.tar.
	@cargo xtask image
