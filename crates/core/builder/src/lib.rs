//! Dockerfile builds: lowering, graph, solver, cache and progress.
