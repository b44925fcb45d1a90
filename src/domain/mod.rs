//! The words of the house, each with only its own rules.
//!
//! No async, no sockets, no clock, no randomness: those are passed in (see [`time`]).

pub mod anywhere;
pub mod arn;
pub mod directory;
pub mod error;
pub mod factor;
pub mod iam;
pub mod name;
pub mod organization;
pub mod permission_set;
pub mod revocation;
pub mod secret;
pub mod session;
pub mod sso;
pub mod time;
pub mod trace;
pub mod user;
mod user_identity;

pub use arn::Arn;
pub use error::{Error, ErrorKind};
pub use secret::Secret;
pub use time::{Clock, Random, Timestamp};
