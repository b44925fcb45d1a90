//! The suite: one binary, whose modules mirror `src/`. See tests/README.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't go on should stop"
)]
#![allow(unreachable_pub, reason = "modules of one binary share their world")]

mod allocations;
mod anywhere;
mod apply;
mod asvs;
mod command_lines;
mod config;
mod crypto;
mod directory;
mod drills;
mod factors;
mod floors;
mod gateway;
mod golden;
mod idp;
mod keys;
mod moving;
mod numbers;
mod oidc;
mod operations;
mod policy;
mod saml;
mod scim;
mod sdk;
mod signer;
mod store;
mod stores;
mod structure;
mod sts;
mod users;
mod world;
