//! The only `unsafe` of the project: what nix and the standard library lack.
