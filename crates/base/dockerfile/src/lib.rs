//! Dockerfile lexer, parser, syntax tree with spans, expansion and .dockerignore.
