//! The parts of the OAuth flows that `aws sso login` and `daypass login` use (WIRE: sso-oidc).

use super::{
    Secret, Timestamp,
    name::{AccountId, RoleName},
    session::PortalSession,
};
use serde::{Deserialize, Serialize};

/// A registered public client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OAuthClient {
    /// As shown on the approval page.
    pub name: String,
    /// SHA-256 of the secret, in hex.
    pub secret_hash: String,
    /// Redirect addresses; loopback ones match with any port (RFC 8252 section 7.3).
    pub redirect_uris: Vec<String>,
    /// Whether it renews its tokens: clients that ask for the scope `sso:account:access` do.
    #[serde(default)]
    pub refreshes: bool,
    /// When the registration ends.
    pub expires: Timestamp,
}

/// A device authorization that waits for its person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceAuthorization {
    /// SHA-256 of the id of the client that asked, in hex.
    pub client_hash: String,
    /// What the approval page shows of it.
    pub client_name: String,
    /// What the person compares and types.
    pub user_code: String,
    /// Where the client called from.
    pub source_ip: String,
    /// When it ends.
    pub expires: Timestamp,
    /// Earliest next poll.
    pub next_poll: Timestamp,
}

/// What the person decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceDecision {
    /// The client gets an access token for this session.
    Approved(Box<PortalSession>),
    /// The client is refused.
    Denied,
}

/// An authorization code, good once and for a minute, or for five where a person carries it over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationCode {
    /// The client it was made for.
    pub client_id: String,
    /// The redirect address it was sent to, with its port.
    pub redirect_uri: String,
    /// PKCE challenge (S256).
    pub code_challenge: String,
    /// Whose session the token will stand for.
    pub session: PortalSession,
    /// The one role it is for (`aws login`); none where it opens the portal (`aws sso login`).
    #[serde(default)]
    pub role: Option<LentRole>,
}

/// A role that a person lent to a command line, and not more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LentRole {
    /// Its account.
    pub account: AccountId,
    /// Its name.
    pub name: RoleName,
}

/// The right to new tokens, kept under the refresh token. Each is good once; the next one follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshGrant {
    /// The client it was given to: by id, or by the id of who called as it.
    pub client_id: String,
    /// The command line's session, the same through all renewals.
    pub session: PortalSession,
    /// The one role it is for, and the thumbprint of the key that has to be shown with it.
    pub bound: Option<(LentRole, String)>,
}

/// What a refresh token was renewed to. Processes that renew at once get the same one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshSuccessor {
    /// The next token.
    #[serde(serialize_with = "Secret::reveal")]
    pub token: Secret<String>,
    /// When.
    pub at: Timestamp,
}
