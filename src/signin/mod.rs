//! The dispatcher: what follows identity.
//!
//! Every step of a sign-in returns here, and no step knows the next one. Today an identified person gets a session at
//! once; a second factor or a consent becomes one more arm of [`next`].

pub mod step;

use crate::domain::{
    Timestamp,
    session::{IdentityAssertion, PortalSession, ProviderSession},
};
use std::marker::PhantomData;

/// The provider has vouched for the person.
#[derive(Debug)]
pub struct Identified;
/// Everything that was asked of the person has been shown.
#[derive(Debug)]
pub struct Authenticated;

/// A sign-in under way; its state is a type, so that a session can't be made too early.
#[derive(Debug)]
pub struct SignIn<State> {
    identity: IdentityAssertion,
    at_provider: Option<ProviderSession>,
    vouched: Timestamp,
    state: PhantomData<State>,
}

/// What follows.
#[derive(Debug)]
pub enum Next {
    /// Nothing more is needed.
    Session(SignIn<Authenticated>),
}

impl SignIn<Identified> {
    /// Begins with what federation established, and when.
    #[must_use]
    pub const fn identified(identity: IdentityAssertion, at_provider: Option<ProviderSession>, vouched: Timestamp) -> Self {
        Self { identity, at_provider, vouched, state: PhantomData }
    }
}

/// Decides what follows identity.
#[must_use]
pub fn next(sign_in: SignIn<Identified>) -> Next {
    Next::Session(SignIn {
        identity: sign_in.identity,
        at_provider: sign_in.at_provider,
        vouched: sign_in.vouched,
        state: PhantomData,
    })
}

impl SignIn<Authenticated> {
    /// The portal session: `seconds` long, never longer than the provider's `SessionNotOnOrAfter`.
    #[must_use]
    pub fn session(self, id: String, seconds: i64, now: Timestamp) -> PortalSession {
        let end = now.plus_seconds(seconds);
        let expires = self.identity.not_after.map_or(end, |not_after| end.min(not_after));
        PortalSession {
            id,
            lent_by: None,
            identity: self.identity,
            at_provider: self.at_provider,
            started: now,
            vouched: Some(self.vouched),
            expires,
        }
    }
}
