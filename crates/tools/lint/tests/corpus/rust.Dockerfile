FROM rust:1.82 AS chef
RUN cargo install cargo-chef --version 0.1.68
WORKDIR /app
FROM chef AS planner
COPY . .
RUN cargo chef prepare --recipe-path recipe.json
FROM chef AS builder
COPY --from=planner /app/recipe.json recipe.json
RUN cargo chef cook --release
COPY . .
RUN cargo build --release
FROM gcr.io/distroless/cc-debian12@sha256:0000000000000000000000000000000000000000000000000000000000000000
COPY --from=builder /app/target/release/app /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/app"]
