//! The dispatcher: what follows identity.
//!
//! Every step of a sign-in returns here, and no step knows the next one.

pub mod factor;
pub mod passkey;
pub mod step;

use crate::{
    domain::{
        Timestamp,
        iam::FactorRequirement,
        session::{IdentityAssertion, PortalSession, ProviderSession},
    },
    federation::oidc::refresh::RefreshGrant,
};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

/// The provider has vouched for the person.
#[derive(Debug)]
pub struct Identified;
/// A second factor is to be given, or to be enrolled.
#[derive(Debug)]
pub struct FactorDue;
/// Everything that was asked of the person has been shown.
#[derive(Debug)]
pub struct Authenticated;

/// A sign-in under way; its state is a type, so that a session can't be made too early.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct SignIn<State> {
    identity: IdentityAssertion,
    at_provider: Option<ProviderSession>,
    refresh: Option<RefreshGrant>,
    vouched: Timestamp,
    factor_given: Option<Timestamp>,
    #[serde(skip)]
    state: PhantomData<State>,
}

impl<State> SignIn<State> {
    /// Who it is.
    #[must_use]
    pub const fn identity(&self) -> &IdentityAssertion {
        &self.identity
    }

    /// When the provider vouched.
    #[must_use]
    pub const fn vouched(&self) -> Timestamp {
        self.vouched
    }

    fn carry<Other>(self, factor_given: Option<Timestamp>) -> SignIn<Other> {
        let Self { identity, at_provider, refresh, vouched, .. } = self;
        SignIn { identity, at_provider, refresh, vouched, factor_given, state: PhantomData }
    }
}

/// What follows.
#[derive(Debug)]
pub enum Next {
    /// Nothing more is needed.
    Session(SignIn<Authenticated>),
    /// One of the person's factors.
    Factor(SignIn<FactorDue>),
    /// The person has none and must have one.
    Enrolment(SignIn<FactorDue>),
}

/// What is known about the person's factors when they have been identified.
#[derive(Clone, Copy, Debug)]
pub struct FactorState {
    /// What the source's settings ask for.
    pub required: FactorRequirement,
    /// Whether the source says that one was given, and is believed.
    pub asserted: bool,
    /// Whether the person has one here.
    pub enrolled: bool,
    /// Whether they may still put their first one off.
    pub grace: bool,
    /// Whether an administrator lets them start anew.
    pub anew: bool,
}

impl SignIn<Identified> {
    /// Begins with what federation established, and when.
    #[must_use]
    pub const fn identified(
        identity: IdentityAssertion,
        at_provider: Option<ProviderSession>,
        refresh: Option<RefreshGrant>,
        vouched: Timestamp,
    ) -> Self {
        Self { identity, at_provider, refresh, vouched, factor_given: None, state: PhantomData }
    }

    /// Begins with a passkey that named the person: whoever unlocked it gave two factors at once.
    #[must_use]
    pub fn by_passkey(identity: IdentityAssertion, now: Timestamp) -> SignIn<Authenticated> {
        Self::identified(identity, None, None, now).carry(Some(now))
    }
}

/// Decides what follows identity. What follows a session is its continuation: choosing a role in the portal, or consenting
/// to a command line's request, which asks for a decision each time and is checked again then.
#[must_use]
pub fn next(sign_in: SignIn<Identified>, factors: FactorState) -> Next {
    let FactorState { required, asserted, enrolled, grace, anew } = factors;
    if anew {
        return Next::Enrolment(sign_in.carry(None));
    }
    match required {
        FactorRequirement::Enrolled | FactorRequirement::Always if !asserted && enrolled => Next::Factor(sign_in.carry(None)),
        FactorRequirement::Always if !asserted && !grace => Next::Enrolment(sign_in.carry(None)),
        FactorRequirement::Never | FactorRequirement::Enrolled | FactorRequirement::Always => Next::Session(sign_in.carry(None)),
    }
}

impl SignIn<FactorDue> {
    /// The factor was given, or enrolled, just now: `signin::factor` alone says so.
    fn given(self, now: Timestamp) -> SignIn<Authenticated> {
        self.carry(Some(now))
    }
}

impl SignIn<Authenticated> {
    /// The portal session: `seconds` long, never longer than the provider's `SessionNotOnOrAfter`; and what fresh claims can
    /// be had with.
    #[must_use]
    pub fn session(self, id: String, seconds: i64, now: Timestamp) -> (PortalSession, Option<RefreshGrant>) {
        let end = now.plus_seconds(seconds);
        let expires = self.identity.not_after.map_or(end, |not_after| end.min(not_after));
        let session = PortalSession {
            id,
            lent_by: None,
            identity: self.identity,
            at_provider: self.at_provider,
            started: now,
            vouched: Some(self.vouched),
            factor_given: self.factor_given,
            expires,
        };
        (session, self.refresh)
    }
}
