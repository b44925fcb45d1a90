//! IAM Roles Anywhere: workloads that prove who they are by a certificate (IAM Roles Anywhere user guide).

use super::{
    Arn, Timestamp,
    name::{AccountId, SourceIdentity},
    session::SessionTags,
};
use std::fmt;

/// The service whose name stands in the trust policies of its roles.
pub const SERVICE: &str = "rolesanywhere.amazonaws.com";
/// Resources of this service name a region in their ARNs. There is one here.
pub(super) const REGION: &str = "us-east-1";

/// A certificate authority an account trusts for its workloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustAnchor {
    /// The account.
    pub account: AccountId,
    /// A UUID.
    pub id: String,
    /// For people.
    pub name: String,
    /// Certificates of the authority, PEM.
    pub certificates: String,
    /// One that is off lets nobody in.
    pub enabled: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When it was changed.
    pub updated: Timestamp,
}

/// Which roles workloads may take, and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnywhereProfile {
    /// The account.
    pub account: AccountId,
    /// A UUID.
    pub id: String,
    /// For people.
    pub name: String,
    /// The roles.
    pub role_arns: Vec<Arn>,
    /// Inline session policy, as JSON text.
    pub session_policy: Option<String>,
    /// Managed session policies.
    pub managed_policy_arns: Vec<Arn>,
    /// Length of sessions, in seconds: 900 to 43200.
    pub duration_seconds: u32,
    /// Whether a workload may name its session.
    pub accept_role_session_name: bool,
    /// One that is off lets nobody in.
    pub enabled: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When it was changed.
    pub updated: Timestamp,
}

/// Certificates that an authority took back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    /// The account.
    pub account: AccountId,
    /// A UUID.
    pub id: String,
    /// For people.
    pub name: String,
    /// The trust anchor it belongs to.
    pub trust_anchor: Arn,
    /// An X.509 CRL, DER.
    pub list: Vec<u8>,
    /// One that is off counts for nothing.
    pub enabled: bool,
    /// When it came in.
    pub created: Timestamp,
}

impl TrustAnchor {
    /// `arn:aws:rolesanywhere:<region>:<account>:trust-anchor/<id>`.
    #[must_use]
    pub fn arn(&self) -> Arn {
        Arn::rolesanywhere(&self.account, "trust-anchor", &self.id)
    }
}

impl AnywhereProfile {
    /// `arn:aws:rolesanywhere:<region>:<account>:profile/<id>`.
    #[must_use]
    pub fn arn(&self) -> Arn {
        Arn::rolesanywhere(&self.account, "profile", &self.id)
    }
}

impl RevocationList {
    /// `arn:aws:rolesanywhere:<region>:<account>:crl/<id>`.
    #[must_use]
    pub fn arn(&self) -> Arn {
        Arn::rolesanywhere(&self.account, "crl", &self.id)
    }
}

/// A certificate whose key signed the request. Nobody has vouched for it yet.
#[derive(Clone, PartialEq, Eq)]
pub struct PresentedCertificate {
    /// The workload's, DER.
    pub leaf: Vec<u8>,
    /// Those between it and the authority, DER.
    pub chain: Vec<Vec<u8>>,
    /// Its serial number, lower-case hexadecimal.
    pub serial: String,
}

impl fmt::Debug for PresentedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PresentedCertificate({})", self.serial)
    }
}

/// A workload that a trust anchor vouches for: only `crypto::x509` makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertifiedIdentity {
    /// The trust anchor.
    pub anchor: Arn,
    /// Its name.
    pub anchor_name: String,
    /// Serial number of the certificate, lower-case hexadecimal.
    pub serial: String,
    /// What the certificate says, as session tags: `x509Subject/CN`, `x509Issuer/CN`, `x509SAN/DNS` …
    pub tags: SessionTags,
    /// `CN=<common name>`, where there is one that fits.
    pub source_identity: Option<SourceIdentity>,
    /// When the certificate ends; no session outlives it.
    pub not_after: Timestamp,
}

impl CertifiedIdentity {
    /// Names the workload across sessions: `trust-anchor/<id>:<serial number>`. No provider's name has a slash.
    #[must_use]
    pub fn person(&self) -> String {
        format!("{}:{}", self.anchor.resource(), self.serial)
    }
}
