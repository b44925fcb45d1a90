//! SAML: the profile check by check, and the corpus of valid forms and attacks in `tests/data/saml`.

mod cage;
pub mod corpus;
mod logout;
mod profile;
mod recorder;
mod setup;
