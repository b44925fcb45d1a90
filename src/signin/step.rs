//! A step: what waits between our redirect and the provider's answer. One hop, one browser, one use.

use crate::{
    crypto::sha256_hex,
    domain::{
        Error, ErrorKind, Timestamp,
        iam::{IdentityProvider, ProviderKind},
    },
    federation::{Pending, SIGN_IN_SECONDS},
    store::{Ephemeral, EphemeralKind},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Steps by their handles.
const STEP: EphemeralKind = EphemeralKind::passing("step");

/// Where the person goes once signed in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Continuation {
    /// The portal.
    #[default]
    Portal,
    /// Nothing: an administrator tries a source, and no session comes of it.
    Test,
    /// Setting up a first second factor: the person authenticates anew for it.
    Enrolment,
    /// Approving a device.
    Device {
        /// The code the person compares.
        user_code: String,
    },
    /// Approving a command-line client.
    Authorize {
        /// The raw query of `/authorize`; it is checked again when the person comes back.
        query: String,
    },
    /// A bookmark that opens a role's console.
    Console {
        /// The raw query of `/portal/console`.
        query: String,
    },
    /// Lending a role to `aws login`.
    Login {
        /// The raw query of `/v1/authorize`; it is checked again when the person comes back.
        query: String,
    },
}

impl Continuation {
    /// The source, as strict as this needs it: a session that the provider still has is not enough for everything.
    #[must_use]
    pub fn demands(&self, source: Arc<IdentityProvider>) -> Arc<IdentityProvider> {
        if *self != Self::Enrolment {
            return source;
        }
        let mut strict = (*source).clone();
        match &mut strict.kind {
            ProviderKind::Saml(saml) => saml.force_authn = true,
            ProviderKind::Oidc(oidc) if oidc.oauth2.is_none() => oidc.max_age_seconds = Some(0),
            ProviderKind::Oidc(_) | ProviderKind::Directory => {}
        }
        Arc::new(strict)
    }

    /// The path of ours that it stands for.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Portal => "/portal".to_owned(),
            Self::Console { query } => format!("/portal/console?{query}"),
            Self::Test => "/admin/sign-ins".to_owned(),
            Self::Enrolment => "/second-factor/enrol".to_owned(),
            Self::Device { user_code } => {
                let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("user_code", user_code).finish();
                format!("/device?{query}")
            }
            Self::Authorize { query } => format!("/authorize?{query}"),
            Self::Login { query } => format!("/v1/authorize?{query}"),
        }
    }
}

/// A step at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Name of the identity source.
    pub source: String,
    /// What the answer will be checked against.
    pub pending: Pending,
    /// What follows.
    pub continuation: Continuation,
    /// SHA-256 of the browser's binding: another browser can't use the step.
    pub browser: String,
}

/// Keeps a step under its handle.
///
/// # Errors
/// `Unavailable`.
pub async fn keep(ephemeral: &Ephemeral, handle: &str, step: &Step, now: Timestamp) -> Result<(), Error> {
    ephemeral.put(STEP, handle, step, now.plus_seconds(SIGN_IN_SECONDS)).await
}

/// Uses a step up, if it belongs to this browser.
///
/// # Errors
/// `StaleStep` when it is unknown, used, expired or another browser's.
pub async fn take(ephemeral: &Ephemeral, handle: &str, binding: Option<&str>) -> Result<Step, Error> {
    let stale = |why: &str| {
        let public = "This sign-in has expired or was begun in another browser. Please sign in again.";
        Error::new(ErrorKind::StaleStep, public).with_private(why)
    };
    let step: Step = ephemeral.take(STEP, handle).await?.ok_or_else(|| stale("step_unknown: used, expired or never made"))?;
    match binding {
        Some(binding) if sha256_hex(binding) == step.browser => Ok(step),
        Some(_) => Err(stale("step_other_browser: the step belongs to another browser")),
        None => Err(stale("step_other_browser: the browser brought no binding")),
    }
}

/// Whether a step waits under this handle (a cheap look before more is kept for it).
///
/// # Errors
/// `Unavailable`.
pub async fn waits(ephemeral: &Ephemeral, handle: &str) -> Result<bool, Error> {
    Ok(ephemeral.get::<Step>(STEP, handle).await?.is_some())
}
