//! SAML: the profile check by check, and the corpus of valid forms and attacks in `tests/data/saml`.

mod cage;
pub mod corpus;
pub mod logout;
mod profile;
mod recorder;
mod setup;
