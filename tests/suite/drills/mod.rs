//! Failure drills with real servers: what still works, what is refused, that nothing acknowledged was lost, and how long it took to
//! be well again. Times are measured and written to `target/drills`; no test depends on them but by its own patience.

#![allow(clippy::disallowed_methods, reason = "drills measure, and are told by the environment what there is")]

mod crowd;
mod exports;
mod machine;
mod node;
mod nodes;
mod postgres;
mod redis;
mod secrets;
mod traces;
