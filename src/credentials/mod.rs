//! Session credentials: issued against a permit, sealed into their own token, bounded by everything that bounds them.

pub mod console;

use crate::{
    crypto::seal::{KeyRing, Purpose},
    domain::{
        Arn, Error, ErrorKind, Random, Secret, Timestamp,
        iam::{MAX_CHAINED_SESSION_SECONDS, MAX_SESSION_SECONDS, MIN_SESSION_SECONDS},
        name::{AccountId, RoleSessionName, SourceIdentity},
        session::{FederationProtocol, RoleSession, SessionTags},
        user::UserSession,
    },
    policy::{DocumentKind, Permit, Policy, decision::GrantBasis, role::saml_name_qualifier},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use serde::Serialize;
use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{Read as _, Write as _},
};

/// Session length when nobody asks for one, in seconds.
pub const DEFAULT_SESSION_SECONDS: u32 = 3600;
/// Longest inline session policy, in characters (STS API reference, `Policy`).
pub const MAX_SESSION_POLICY: usize = 2048;
/// Most managed session policies.
pub const MAX_SESSION_POLICY_ARNS: usize = 10;
/// What a session token may weigh when sealed, in bytes; `PackedPolicySize` is the share that is used.
const MAX_TOKEN: usize = 4096;

/// What is asked for besides the role.
#[derive(Clone, Debug)]
pub struct SessionRequest {
    /// The session's name.
    pub name: RoleSessionName,
    /// Length in seconds; none for the default.
    pub seconds: Option<u32>,
    /// Inline session policy.
    pub policy: Option<String>,
    /// Managed session policies; the caller has checked that they exist.
    pub policy_arns: Vec<Arn>,
    /// Source identity, where the caller sets one.
    pub source_identity: Option<SourceIdentity>,
    /// Session tags that are passed.
    pub tags: SessionTags,
}

impl SessionRequest {
    /// A session with a name and nothing else asked for.
    #[must_use]
    pub fn named(name: RoleSessionName) -> Self {
        Self { name, seconds: None, policy: None, policy_arns: Vec::new(), source_identity: None, tags: SessionTags::default() }
    }
}

/// What the holder gets: these three sign requests until they expire.
#[derive(Clone, Debug)]
pub struct SessionCredentials {
    /// `ASIA…`.
    pub access_key_id: String,
    /// Forty characters.
    pub secret_access_key: Secret<String>,
    /// Goes into `X-Amz-Security-Token`.
    pub session_token: Secret<String>,
    /// When they end.
    pub expiration: Timestamp,
}

/// A session with its credentials.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The session.
    pub session: RoleSession,
    /// What its holder gets.
    pub credentials: SessionCredentials,
    /// Percent of the room in the token that policies and tags take, where there are any.
    pub packed_policy_size: Option<u32>,
}

/// Issues a session of the role that the permit grants, and of no other.
///
/// It ends at the earliest of: what was asked (default one hour), the role's maximum, the identity provider's
/// `SessionNotOnOrAfter`, and `chained_seconds` for a session made from a session (role chaining; AWS: one hour). A chain as a
/// whole ends with the identity provider's bound, and twelve hours after its first session at the latest.
///
/// # Errors
/// `AccessDenied` when the permit grants no role; `InvalidInput` for lengths out of range; `MalformedPolicy`,
/// `PolicyTooLarge` for session policies; `InvalidParameterValue` for a tag that would change a transitive one.
pub fn issue(
    permit: &Permit,
    request: SessionRequest,
    chained_seconds: u32,
    ring: &KeyRing,
    random: &dyn Random,
    now: Timestamp,
) -> Result<Issued, Error> {
    let grant = permit.grant().ok_or_else(|| Error::new(ErrorKind::AccessDenied, "no role was granted"))?;
    let role = &grant.role.role;
    let origin = Origin::of(&grant.basis, &role.account);
    let source_identity = match (origin.source_identity, request.source_identity) {
        (Some(fixed), Some(asked)) if fixed != asked => {
            return Err(Error::new(ErrorKind::AccessDenied, "The source identity of a session can't be changed by a later one."));
        }
        (fixed, asked) => fixed.or(asked),
    };
    let tags = match &grant.basis {
        GrantBasis::Federated(_) | GrantBasis::User(_) => request.tags,
        // What the certificate says, and nothing else.
        GrantBasis::Certified(identity) => identity.tags.clone(),
        GrantBasis::Chained(parent) => request.tags.after(&parent.tags)?,
    };
    let seconds = session_seconds(request.seconds, role.max_session_seconds, origin.chained.then_some(chained_seconds))?;
    // A chain ends: roles that trust each other can't keep somebody in for ever.
    let bound = origin.bound.unwrap_or_else(|| now.plus_seconds(i64::from(MAX_SESSION_SECONDS)));
    if bound <= now {
        return Err(Error::new(ErrorKind::ExpiredCredentials, "The chain of sessions has reached its end. Sign in again."));
    }
    let expires = now.plus_seconds(i64::from(seconds)).min(bound);
    let packed = check_caps(request.policy.as_deref(), &request.policy_arns, &tags)?;
    let session = RoleSession {
        access_key_id: random.access_key_id("ASIA", &role.account),
        secret_access_key: secret_access_key(random),
        account: role.account.clone(),
        role_name: role.name.clone(),
        role_id: role.id.clone(),
        session_name: request.name,
        issued: now,
        began: origin.began,
        expires,
        bound,
        source_identity,
        tags,
        session_policy: request.policy,
        session_policy_arns: request.policy_arns,
        federated_provider: origin.federated_provider,
        person: origin.person,
        directory_user: origin.directory_user,
        claims: origin.claims,
        chained: origin.chained,
    };
    let credentials = SessionCredentials {
        access_key_id: session.access_key_id.clone(),
        secret_access_key: session.secret_access_key.clone(),
        session_token: seal(ring, Holder::Role, &session)?,
        expiration: expires,
    };
    Ok(Issued { session, credentials, packed_policy_size: packed })
}

/// What a role session keeps of where it came from.
#[derive(Default)]
struct Origin {
    chained: bool,
    /// Passed on along the chain.
    began: Option<Timestamp>,
    /// Passed on along the chain.
    bound: Option<Timestamp>,
    source_identity: Option<SourceIdentity>,
    federated_provider: Option<String>,
    person: Option<String>,
    directory_user: Option<String>,
    claims: BTreeMap<String, Vec<String>>,
}

impl Origin {
    fn of(basis: &GrantBasis, account: &AccountId) -> Self {
        match basis {
            GrantBasis::Federated(assertion) => {
                let mut claims = assertion.lasting_claims();
                if assertion.provider.protocol == FederationProtocol::Saml {
                    let qualifier = saml_name_qualifier(&assertion.issuer, account.as_str(), &assertion.provider.name);
                    claims.insert("saml:namequalifier".to_owned(), vec![qualifier]);
                }
                Self {
                    chained: false,
                    began: None,
                    bound: assertion.not_after,
                    source_identity: assertion.source_identity.clone(),
                    federated_provider: assertion.provider.arn_in(account).map(|arn| arn.to_string()),
                    person: Some(assertion.person()),
                    directory_user: assertion.directory_user().map(str::to_owned),
                    claims,
                }
            }
            GrantBasis::Chained(parent) => Self {
                chained: true,
                began: Some(parent.began.unwrap_or(parent.issued)),
                bound: Some(parent.bound),
                source_identity: parent.source_identity.clone(),
                federated_provider: parent.federated_provider.clone(),
                person: parent.person.clone(),
                directory_user: parent.directory_user.clone(),
                ..Self::default()
            },
            GrantBasis::Certified(identity) => Self {
                bound: Some(identity.not_after),
                source_identity: identity.source_identity.clone(),
                person: Some(identity.person()),
                ..Self::default()
            },
            GrantBasis::User(user) => {
                Self { person: user.person.clone(), directory_user: user.directory_user.clone(), ..Self::default() }
            }
        }
    }
}

/// Forty characters.
pub fn secret_access_key(random: &dyn Random) -> Secret<String> {
    Secret::new(random.text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 40))
}

/// Seals temporary credentials of a user or root user into their token.
///
/// # Errors
/// `PolicyTooLarge` when policies and tags do not fit.
pub fn issue_user(session: &UserSession, ring: &KeyRing) -> Result<SessionCredentials, Error> {
    let endless = || Error::internal("an access key is no session");
    Ok(SessionCredentials {
        access_key_id: session.access_key_id.clone(),
        secret_access_key: session.secret_access_key.clone(),
        session_token: seal(ring, Holder::User, session)?,
        expiration: session.expires.ok_or_else(endless)?,
    })
}

/// Checks what caps a session; percent of the room in the token that policies and tags take, where there are any.
///
/// # Errors
/// `PolicyTooLarge`, `MalformedPolicy`, `InvalidInput`.
pub fn check_caps(policy: Option<&str>, arns: &[Arn], tags: &SessionTags) -> Result<Option<u32>, Error> {
    if let Some(policy) = policy {
        if policy.chars().count() > MAX_SESSION_POLICY {
            return Err(Error::new(
                ErrorKind::PolicyTooLarge,
                format!("The session policy has more than {MAX_SESSION_POLICY} characters"),
            ));
        }
        Policy::parse(policy, DocumentKind::Identity)
            .map_err(|error| Error::new(ErrorKind::MalformedPolicy, error.to_string()))?;
    }
    if arns.len() > MAX_SESSION_POLICY_ARNS {
        return Err(Error::invalid(format!("at most {MAX_SESSION_POLICY_ARNS} session policy ARNs")));
    }
    let packed = policy.map_or(0, str::len)
        + arns.iter().map(|arn| arn.as_str().len()).sum::<usize>()
        + tags.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    Ok((packed > 0).then(|| u32::try_from(packed * 100 / MAX_TOKEN).unwrap_or(100).max(1)))
}

fn session_seconds(asked: Option<u32>, role_maximum: u32, chain_limit: Option<u32>) -> Result<u32, Error> {
    let Some(seconds) = asked else {
        return Ok(DEFAULT_SESSION_SECONDS.min(role_maximum).min(chain_limit.unwrap_or(MAX_SESSION_SECONDS)));
    };
    if !(MIN_SESSION_SECONDS..=MAX_SESSION_SECONDS).contains(&seconds) {
        return Err(Error::invalid(format!(
            "1 validation error detected: Value '{seconds}' at 'durationSeconds' failed to satisfy constraint: Member must have value between {MIN_SESSION_SECONDS} and {MAX_SESSION_SECONDS}"
        )));
    }
    if let Some(limit) = chain_limit.filter(|limit| seconds > *limit) {
        let limit = if limit == MAX_CHAINED_SESSION_SECONDS { "1 hour".to_owned() } else { format!("{limit} seconds") };
        return Err(Error::invalid(format!(
            "The requested DurationSeconds exceeds the {limit} session limit for roles assumed by role chaining"
        )));
    }
    if seconds > role_maximum {
        return Err(Error::invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role."));
    }
    Ok(seconds)
}

/// Whose a token is.
#[derive(Clone, Debug)]
pub enum Opened {
    /// A role session's.
    Role(RoleSession),
    /// A user's, a federated user's or a root user's.
    User(UserSession),
}

/// Opens a session token; none when it is not ours. Expiry is the caller's to judge, after the signature.
#[must_use]
pub fn open(ring: &KeyRing, token: &str) -> Option<Opened> {
    if token.len() > MAX_TOKEN {
        return None;
    }
    let plain = ring.open(Purpose::SessionToken, "", &URL_SAFE_NO_PAD.decode(token).ok()?)?;
    let (holder, json) = unpack(&plain)?;
    match holder {
        Holder::Role => serde_json::from_slice(&json).ok().map(Opened::Role),
        Holder::User => serde_json::from_slice(&json).ok().map(Opened::User),
    }
}

/// Opens the session token of a role session; none when it is something else.
#[must_use]
pub fn open_role(ring: &KeyRing, token: &str) -> Option<RoleSession> {
    match open(ring, token)? {
        Opened::Role(session) => Some(session),
        Opened::User(_) => None,
    }
}

fn seal(ring: &KeyRing, holder: Holder, session: &impl Serialize) -> Result<Secret<String>, Error> {
    let plain = pack(holder, &serde_json::to_vec(session).map_err(Error::internal)?)?;
    let token = URL_SAFE_NO_PAD.encode(ring.seal(Purpose::SessionToken, "", &plain).map_err(Error::internal)?);
    if token.len() > MAX_TOKEN {
        return Err(Error::new(ErrorKind::PolicyTooLarge, "The session policies and tags do not fit into a session token"));
    }
    Ok(Secret::new(token))
}

/// Whose session a token holds: a bit of its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Role = 0,
    User = 2,
}

/// In the first byte of what a token holds: it is compressed (DEFLATE, RFC 1951).
const DEFLATED: u8 = 1;
/// Most bytes a token unfolds to.
const MAX_UNFOLDED: u64 = 65_536;

/// Shorter sessions are not compressed: each signed call would pay for it.
const WORTH_DEFLATING: usize = 512;

/// Compresses where that helps: policies and tags repeat themselves, a plain session hardly does. The secret in a token is
/// new in each, so that its length tells nothing about it.
fn pack(holder: Holder, json: &[u8]) -> Result<Vec<u8>, Error> {
    let plain = || [&[holder as u8], json].concat();
    if json.len() < WORTH_DEFLATING {
        return Ok(plain());
    }
    let mut encoder = DeflateEncoder::new(vec![holder as u8 | DEFLATED], Compression::default());
    encoder.write_all(json).map_err(Error::internal)?;
    let deflated = encoder.finish().map_err(Error::internal)?;
    Ok(if deflated.len() <= json.len() { deflated } else { plain() })
}

fn unpack(packed: &[u8]) -> Option<(Holder, Cow<'_, [u8]>)> {
    let (first, rest) = packed.split_first()?;
    let holder = match first & !DEFLATED {
        0 => Holder::Role,
        2 => Holder::User,
        _ => return None,
    };
    if first & DEFLATED == 0 {
        return Some((holder, rest.into()));
    }
    let mut json = Vec::new();
    DeflateDecoder::new(rest).take(MAX_UNFOLDED).read_to_end(&mut json).ok()?;
    Some((holder, json.into()))
}
