# Short names for cargo commands. The logic is in xtask.
.PHONY: help demo demo-down test generate lint image

help: ## List the targets.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: ## Run the demo on a cluster of its own; only root on Linux gets all of it.
	@cargo xtask demo

demo-down: ## Stop the demo's cluster.
	@cargo xtask demo down

test: ## Run all tests; starts and stops the clusters that they need.
	@cargo xtask test

generate: ## Regenerate CRDs, roles, the fence and the API reference.
	@cargo xtask generate

lint: ## Check formatting, lints, licences and the documentation of the code.
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	@RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
	@cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny@0.20.2
	@cargo deny --locked check licenses bans sources

image: ## Write the operator's image to target/image/modelsync.tar.
	@cargo xtask image
