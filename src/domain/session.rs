//! Who is asking: verified identities, role sessions, callers.

use super::{
    Arn, Error, ErrorKind, Secret, Timestamp,
    anywhere::PresentedCertificate,
    directory::BearerToken,
    factor,
    iam::ProviderOwner,
    name::{AccountId, RoleName, RoleSessionName, SourceIdentity},
    user::UserSession,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

/// Most tags of a session (IAM user guide, "Rules for adding tags in AWS STS").
pub const MAX_SESSION_TAGS: usize = 50;

/// Tags of a session. Keys are unique without regard to letter case, and kept as they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTags {
    #[serde(rename = "v")]
    values: BTreeMap<String, String>,
    /// Keys that go along to every session that is made from this one.
    #[serde(rename = "t", default, skip_serializing_if = "BTreeSet::is_empty")]
    transitive: BTreeSet<String>,
}

impl SessionTags {
    /// Tags, and which of them are transitive.
    ///
    /// # Errors
    /// `InvalidInput` for a length out of range, `InvalidParameterValue` for two keys that differ only in letter case and for
    /// a transitive key that is no tag.
    pub fn new(tags: impl IntoIterator<Item = (String, String)>, transitive: &[String]) -> Result<Self, Error> {
        let mut all = Self::default();
        for (key, value) in tags {
            if !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256 {
                return Err(Error::invalid("a tag key has 1 to 128 characters, a value up to 256"));
            }
            if all.get(&key).is_some() {
                let message = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
                return Err(Error::new(ErrorKind::InvalidParameterValue, message));
            }
            all.values.insert(key, value);
        }
        if all.values.len() > MAX_SESSION_TAGS {
            return Err(Error::invalid(format!("a session has at most {MAX_SESSION_TAGS} tags")));
        }
        for wanted in transitive {
            let found = all.values.keys().find(|key| same_key(key, wanted)).cloned();
            let absent = "The specified transitive tag key must be included in the requested tags.";
            all.transitive.insert(found.ok_or_else(|| Error::new(ErrorKind::InvalidParameterValue, absent))?);
        }
        Ok(all)
    }

    /// These tags, and the transitive ones of the session before.
    ///
    /// # Errors
    /// `InvalidParameterValue` when one of these would change a transitive tag, `InvalidInput` when there are too many.
    pub fn after(mut self, parent: &Self) -> Result<Self, Error> {
        for (key, value) in parent.transitive() {
            if self.get(key).is_some() {
                let message = "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag \
                               key from the calling session.";
                return Err(Error::new(ErrorKind::InvalidParameterValue, message));
            }
            self.values.insert(key.to_owned(), value.to_owned());
            self.transitive.insert(key.to_owned());
        }
        if self.values.len() > MAX_SESSION_TAGS {
            return Err(Error::invalid(format!("a session has at most {MAX_SESSION_TAGS} tags, inherited ones included")));
        }
        Ok(self)
    }

    /// The value of a key, without regard to letter case.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| same_key(known, key)).map(|(_, value)| value.as_str())
    }

    /// All tags, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The tags that go along.
    pub fn transitive(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter(|(key, _)| self.transitive.contains(*key))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

fn same_key(a: &str, b: &str) -> bool {
    a == b || a.to_lowercase() == b.to_lowercase()
}

/// What an identity provider said about a person, after every check: only `federation` makes one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityAssertion {
    /// The provider that was verified.
    pub provider: ProviderRef,
    /// SAML entity ID or OIDC issuer, as it stands in the assertion.
    pub issuer: String,
    /// NameID or `sub`, exactly.
    pub subject: String,
    /// SAML: `persistent`, `transient` or the full Format URI.
    pub subject_type: Option<String>,
    /// The audience that matched (SAML: the Recipient, see `saml:aud` in the IAM user guide).
    pub audience: String,
    /// Condition keys as trust policies name them (`saml:groups`, `<issuer>:email`) → values.
    pub claims: BTreeMap<String, Vec<String>>,
    /// For display.
    pub name: Option<String>,
    /// For display.
    pub email: Option<String>,
    /// When the person authenticated, as asserted.
    pub authenticated: Timestamp,
    /// The same, where the provider says it: an `AuthnInstant` always, `auth_time` not always.
    #[serde(default)]
    pub asserted_authentication: Option<Timestamp>,
    /// How, as asserted: `amr` and `acr`, or `AuthnContextClassRef`.
    #[serde(default)]
    pub methods: Vec<String>,
    /// No session may outlive this (SAML `SessionNotOnOrAfter`).
    pub not_after: Option<Timestamp>,
    /// Session name the assertion asks for (`…/SAML/Attributes/RoleSessionName`).
    pub role_session_name: Option<RoleSessionName>,
    /// Session length the assertion asks for, in seconds (`…/SAML/Attributes/SessionDuration`).
    pub session_seconds: Option<u32>,
    /// Source identity the assertion carries.
    pub source_identity: Option<SourceIdentity>,
    /// Session tags the assertion carries.
    #[serde(default)]
    pub tags: SessionTags,
    /// Roles the assertion itself lists (`…/SAML/Attributes/Role`), role ARN and provider ARN.
    pub roles: Vec<(Arn, Arn)>,
}

/// A verified provider, by owner, name and the resource part of its ARN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderRef {
    /// Organization or account.
    pub owner: ProviderOwner,
    /// Its name.
    pub name: String,
    /// `saml-provider/<name>` or `oidc-provider/<issuer>`.
    pub resource: String,
    /// Which federation action its trust statements use.
    pub protocol: FederationProtocol,
}

impl ProviderRef {
    /// The ARN trust policies of that account name, or none where the provider does not stand.
    #[must_use]
    pub fn arn_in(&self, account: &AccountId) -> Option<Arn> {
        match &self.owner {
            ProviderOwner::Account(owner) if owner != account => None,
            ProviderOwner::Account(_) | ProviderOwner::Organization => Some(Arn::iam(account, &self.resource)),
        }
    }
}

/// The protocol decides the action in trust policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FederationProtocol {
    /// `sts:AssumeRoleWithSAML`.
    Saml,
    /// `sts:AssumeRoleWithWebIdentity`; the built-in directory counts as a web identity.
    WebIdentity,
}

impl FederationProtocol {
    /// The action a trust statement must allow.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::Saml => "sts:AssumeRoleWithSAML",
            Self::WebIdentity => "sts:AssumeRoleWithWebIdentity",
        }
    }
}

impl IdentityAssertion {
    /// The name the person's role sessions carry: what the assertion asks for, else e-mail, else subject.
    #[must_use]
    pub fn session_name(&self) -> RoleSessionName {
        self.role_session_name.clone().unwrap_or_else(|| RoleSessionName::nearest(self.email.as_deref().unwrap_or(&self.subject)))
    }

    /// Names the person's second factors, see [`factor::owner`].
    #[must_use]
    pub fn factor_owner(&self) -> String {
        factor::owner(&self.provider.resource, &self.subject)
    }

    /// Names the person across sessions: `<provider>:<subject>`.
    #[must_use]
    pub fn person(&self) -> String {
        format!("{}:{}", self.provider.name, self.subject)
    }

    /// Who it is in the directory, by id: of the directory itself, or of a source whose people are in it.
    #[must_use]
    pub fn directory_user(&self) -> Option<&str> {
        self.claims.get("directory:sub").and_then(|ids| ids.first()).map(String::as_str)
    }

    /// The claims that stay with a session (IAM user guide, "Available keys for AWS web identity federation" and "for
    /// SAML-based federation"): who it is about, and for whom it was made. All others are for the trust policy alone.
    #[must_use]
    pub fn lasting_claims(&self) -> BTreeMap<String, Vec<String>> {
        let lasting: &[&str] = match self.provider.protocol {
            FederationProtocol::Saml => &["sub", "sub_type"],
            FederationProtocol::WebIdentity => &["sub", "aud", "amr", "id"],
        };
        let lasts = |key: &str| key.rsplit_once(':').is_some_and(|(_, claim)| lasting.contains(&claim));
        self.claims.iter().filter(|(key, _)| lasts(key)).map(|(key, values)| (key.clone(), values.clone())).collect()
    }

    /// Whether the assertion may be used for the role: one that lists roles is for those alone.
    #[must_use]
    pub fn is_for(&self, role: &Arn) -> bool {
        self.roles.is_empty() || self.roles.iter().any(|(listed, _)| listed == role)
    }

    /// What pages call the person.
    #[must_use]
    pub fn display_name(&self) -> &str {
        self.name.as_deref().or(self.email.as_deref()).unwrap_or(&self.subject)
    }
}

/// A person who signed in and may choose roles (AWS IAM Identity Center, "portal session").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortalSession {
    /// Names the session in audit records.
    pub id: String,
    /// The session that lent itself to this one (a command line's): when that is ended, so is this.
    #[serde(default)]
    pub lent_by: Option<String>,
    /// Who it is.
    pub identity: IdentityAssertion,
    /// The session at the provider that vouched, to end it there too.
    #[serde(default)]
    pub at_provider: Option<ProviderSession>,
    /// When it began.
    pub started: Timestamp,
    /// When the provider vouched, where that was before it began: what is ended from then on, this is too.
    #[serde(default)]
    pub vouched: Option<Timestamp>,
    /// When a second factor was last given, here or, where it is believed, at the provider.
    #[serde(default)]
    pub factor_given: Option<Timestamp>,
    /// When it ends, whatever happens.
    pub expires: Timestamp,
}

impl PortalSession {
    /// When the provider vouched for the person: revocations and logouts after that end the session.
    #[must_use]
    pub fn vouched(&self) -> Timestamp {
        self.vouched.unwrap_or(self.started)
    }
}

/// What a provider knows a person's session by. Kept in the session alone, never in a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProviderSession {
    /// SAML: the subject as it was asserted, and `SessionIndex`.
    Saml {
        /// The NameID.
        name_id: NameId,
        /// Of the AuthnStatement.
        index: Option<String>,
    },
    /// OpenID Connect.
    Oidc {
        /// `sub`.
        subject: String,
        /// `sid`, where the provider says it.
        sid: Option<String>,
        /// Hint for the provider's logout.
        #[serde(serialize_with = "Secret::reveal")]
        id_token: Secret<String>,
    },
}

/// A SAML subject as it was asserted (SAML core 2.2.3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameId {
    /// Its text.
    pub value: String,
    /// `Format`.
    pub format: Option<String>,
    /// `NameQualifier`.
    pub name_qualifier: Option<String>,
    /// `SPNameQualifier`.
    pub sp_name_qualifier: Option<String>,
}

/// A role taken: everything a signed call needs to be decided, sealed into the session token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleSession {
    /// `ASIA…`.
    #[serde(rename = "k")]
    pub access_key_id: String,
    /// The secret that signs. Sealed with the rest.
    #[serde(rename = "s", serialize_with = "Secret::reveal")]
    pub secret_access_key: Secret<String>,
    /// Account of the role.
    #[serde(rename = "a")]
    pub account: AccountId,
    /// Name of the role.
    #[serde(rename = "r")]
    pub role_name: RoleName,
    /// Unique id of the role: a role made anew under the same name does not inherit the session.
    #[serde(rename = "i")]
    pub role_id: String,
    /// The session's name.
    #[serde(rename = "n")]
    pub session_name: RoleSessionName,
    /// When it was issued.
    #[serde(rename = "t")]
    pub issued: Timestamp,
    /// When the first session of its chain was issued, where that was another one: what ended everything of
    /// its person then, ends this.
    #[serde(rename = "z", default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
    /// When it ends.
    #[serde(rename = "e")]
    pub expires: Timestamp,
    /// No session made from this one, or from one made from it, lives longer.
    #[serde(rename = "b")]
    pub bound: Timestamp,
    /// Fixed along the chain.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub source_identity: Option<SourceIdentity>,
    /// Session tags: those that were passed, and transitive ones of the sessions before.
    #[serde(rename = "g", default, skip_serializing_if = "SessionTags::is_empty")]
    pub tags: SessionTags,
    /// Inline session policy, as JSON text.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub session_policy: Option<String>,
    /// Managed session policies.
    #[serde(rename = "m", default, skip_serializing_if = "Vec::is_empty")]
    pub session_policy_arns: Vec<Arn>,
    /// ARN of the federated provider the chain began with.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub federated_provider: Option<String>,
    /// Whose session the chain began with, as `<provider>:<subject>`.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// Who that is in the directory, by id, where they are in it.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub directory_user: Option<String>,
    /// What the provider said that later calls may be judged by (`saml:sub`, `<issuer>:aud` …).
    #[serde(rename = "x", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Vec<String>>,
    /// Whether the session was made from another role session.
    #[serde(rename = "c", default, skip_serializing_if = "std::ops::Not::not")]
    pub chained: bool,
}

impl RoleSession {
    /// `arn:aws:sts::<account>:assumed-role/<role>/<session>`.
    #[must_use]
    pub fn arn(&self) -> Arn {
        Arn::assumed_role(&self.account, self.role_name.as_str(), self.session_name.as_str())
    }
    /// `AROA…:<session>`, what STS calls `UserId` and `AssumedRoleId`.
    #[must_use]
    pub fn user_id(&self) -> String {
        format!("{}:{}", self.role_id, self.session_name)
    }
}

/// Where a request came from.
#[derive(Clone, Debug)]
pub struct RequestOrigin {
    /// Names the request in answer, log and audit record.
    pub request_id: String,
    /// The peer, or what a trusted proxy says it is.
    pub source_ip: IpAddr,
    /// As sent, cut to 256 characters.
    pub user_agent: String,
    /// Whether it came over TLS.
    pub secure: bool,
    /// When it arrived.
    pub time: Timestamp,
}

/// The network that an address stands for: who has one IPv6 address has all of its 64 bits.
#[must_use]
pub fn network(source: IpAddr) -> IpAddr {
    prefix(source, 64)
}

/// The site of an address: of IPv6 it has 48 bits, and can be anybody in all that is below.
#[must_use]
pub fn site(source: IpAddr) -> IpAddr {
    prefix(source, 48)
}

fn prefix(source: IpAddr, bits: u32) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => std::net::Ipv6Addr::from_bits(address.to_bits() & !(u128::MAX >> bits)).into(),
    }
}

/// A key that a request came with a DPoP proof of. The proof is not used up yet: what is given for it has to do that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DpopKey {
    /// RFC 7638, SHA-256, base64url.
    pub thumbprint: String,
    /// Names the proof (`jti`).
    pub proof: String,
}

/// Who is asking, once verified.
#[derive(Clone, Debug)]
pub enum Principal {
    /// Nothing was proved.
    Anonymous,
    /// A role session that signed the request, or whose console session this is.
    Session(Arc<RoleSession>),
    /// A user or root user who signed the request.
    User(Arc<UserSession>),
    /// Whoever holds the key of a certificate, which signed the request: nobody has vouched for them yet.
    Certificate(Arc<PresentedCertificate>),
    /// Whoever holds a key, shown by a DPoP proof (RFC 9449). Nobody has vouched for them yet.
    DpopKey(Arc<DpopKey>),
    /// A person with a portal session: may see and take roles, nothing else.
    Person(Arc<PortalSession>),
    /// A company's SCIM client: keeps people and groups of the directory.
    Provisioner(Arc<BearerToken>),
    /// Whoever holds the data folder and its master key, on the machine itself (`daypass apply`).
    Operator,
}

impl Principal {
    /// Session tags of who signed.
    #[must_use]
    pub fn tags(&self) -> Option<&SessionTags> {
        match self {
            Self::Session(session) => Some(&session.tags),
            Self::User(user) => Some(&user.tags),
            Self::Anonymous
            | Self::Certificate(_)
            | Self::DpopKey(_)
            | Self::Person(_)
            | Self::Provisioner(_)
            | Self::Operator => None,
        }
    }
    /// Source identity of who signed.
    #[must_use]
    pub fn source_identity(&self) -> Option<&SourceIdentity> {
        match self {
            Self::Session(session) => session.source_identity.as_ref(),
            Self::User(user) => user.source_identity.as_ref(),
            Self::Anonymous
            | Self::Certificate(_)
            | Self::DpopKey(_)
            | Self::Person(_)
            | Self::Provisioner(_)
            | Self::Operator => None,
        }
    }
    /// Whose sessions are ended together with this one: `<provider>:<subject>`, or the unique id of an IAM user.
    #[must_use]
    pub fn person_behind(&self) -> Option<String> {
        match self {
            Self::Session(session) => session.person.clone(),
            Self::User(user) => user.person.clone(),
            Self::Anonymous
            | Self::Certificate(_)
            | Self::DpopKey(_)
            | Self::Person(_)
            | Self::Provisioner(_)
            | Self::Operator => None,
        }
    }
    /// Who that is in the directory, by id, where they are in it.
    #[must_use]
    pub fn directory_user(&self) -> Option<&str> {
        match self {
            Self::Session(session) => session.directory_user.as_deref(),
            Self::User(user) => user.directory_user.as_deref(),
            Self::Anonymous
            | Self::Certificate(_)
            | Self::DpopKey(_)
            | Self::Person(_)
            | Self::Provisioner(_)
            | Self::Operator => None,
        }
    }
    /// When the credentials of who signed end; none for those that don't.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        match self {
            Self::Session(session) => Some(session.expires),
            Self::User(user) => user.expires,
            Self::Anonymous
            | Self::Certificate(_)
            | Self::DpopKey(_)
            | Self::Person(_)
            | Self::Provisioner(_)
            | Self::Operator => None,
        }
    }
}

/// What somebody without a portal session is told, or with one that has ended.
#[must_use]
pub fn no_portal_session() -> Error {
    Error::new(ErrorKind::InvalidBearer, "Session token not found or invalid")
}

/// A verified principal and where it calls from.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// From where.
    pub origin: Arc<RequestOrigin>,
}

impl Caller {
    /// The account of who signed.
    #[must_use]
    pub fn account(&self) -> Option<&AccountId> {
        match &self.principal {
            Principal::Session(session) => Some(&session.account),
            Principal::User(user) => Some(&user.account),
            Principal::Anonymous
            | Principal::Certificate(_)
            | Principal::DpopKey(_)
            | Principal::Person(_)
            | Principal::Provisioner(_)
            | Principal::Operator => None,
        }
    }
    /// ARN and `UserId` of who signed.
    #[must_use]
    pub fn identity(&self) -> Option<(Arn, String)> {
        match &self.principal {
            Principal::Session(session) => Some((session.arn(), session.user_id())),
            Principal::User(user) => Some((user.arn(), user.unique_id())),
            Principal::Anonymous
            | Principal::Certificate(_)
            | Principal::DpopKey(_)
            | Principal::Person(_)
            | Principal::Provisioner(_)
            | Principal::Operator => None,
        }
    }
    /// The user or root user, where the caller is one.
    #[must_use]
    pub fn user(&self) -> Option<&Arc<UserSession>> {
        match &self.principal {
            Principal::User(user) => Some(user),
            Principal::Anonymous
            | Principal::Session(_)
            | Principal::Certificate(_)
            | Principal::DpopKey(_)
            | Principal::Person(_)
            | Principal::Provisioner(_)
            | Principal::Operator => None,
        }
    }
    /// The person, where the caller is one.
    #[must_use]
    pub fn person(&self) -> Option<&PortalSession> {
        match &self.principal {
            Principal::Person(person) => Some(person),
            Principal::Anonymous
            | Principal::Session(_)
            | Principal::User(_)
            | Principal::Certificate(_)
            | Principal::DpopKey(_)
            | Principal::Provisioner(_)
            | Principal::Operator => None,
        }
    }
    /// The person, where only one will do.
    ///
    /// # Errors
    /// `InvalidBearer`.
    pub fn portal_session(&self) -> Result<&PortalSession, Error> {
        self.person().ok_or_else(no_portal_session)
    }
    /// Whether nobody in particular calls. Anybody can make a certificate, or a key.
    #[must_use]
    pub fn is_stranger(&self) -> bool {
        matches!(self.principal, Principal::Anonymous | Principal::Certificate(_) | Principal::DpopKey(_))
    }
    /// How audit records name the caller.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.principal {
            Principal::Anonymous => "anonymous".to_owned(),
            Principal::Session(session) => session.arn().to_string(),
            Principal::User(user) => user.arn().to_string(),
            Principal::Certificate(certificate) => format!("x509:{}", certificate.serial),
            Principal::DpopKey(key) => format!("dpop:{}", key.thumbprint),
            Principal::Person(person) => {
                format!("{}:{}", person.identity.provider.name, person.identity.session_name())
            }
            Principal::Provisioner(token) => format!("scim:{}", token.name),
            Principal::Operator => "operator".to_owned(),
        }
    }
}
