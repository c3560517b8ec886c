# Builds the operator's image with a container engine. CI does not build this file, because that needs a registry.
# `cargo xtask image` writes an equivalent image without a registry.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin modelsync

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/modelsync /modelsync
USER 65532:65532
ENTRYPOINT ["/modelsync"]
