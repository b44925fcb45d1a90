//! Who is asking, and how `Principal` elements name them (IAM user guide, "Principal" and "NotPrincipal").

use super::{
    document::{DocumentKind, PrincipalValue},
    pattern::Refused,
};
use crate::domain::{Arn, name::AccountId};

/// Who is asking, as `Principal` elements see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The root user of an account.
    Root {
        /// The account.
        account: AccountId,
    },
    /// An IAM user.
    User {
        /// The account.
        account: AccountId,
        /// With its path.
        arn: Arn,
        /// `AIDA…`.
        id: String,
    },
    /// A role session.
    Session {
        /// ARN of the role, with its path.
        role: Arn,
        /// Unique id of the role, `AROA…`.
        role_id: String,
        /// ARN of the session.
        session: Arn,
        /// Account of the role.
        account: AccountId,
    },
    /// A session from `GetFederationToken`.
    FederatedUser {
        /// The account.
        account: AccountId,
        /// ARN of the session.
        session: Arn,
        /// ARN of the user who asked for it.
        user: Arn,
        /// Unique id of that user.
        user_id: String,
    },
    /// Somebody vouched for by a provider, named by the provider's ARN in the role's account.
    Federated(Arn),
    /// A service, for example `ec2.amazonaws.com`.
    Service(String),
    /// Nobody proved anything.
    Anonymous,
}

impl Identity {
    /// The caller that a text names: the ARN of a user, a role (for a session of it), a session, a federated user, an
    /// account's root or an identity provider; a service; or `anonymous`. Its unique id is not known.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        if text == "anonymous" {
            return Some(Self::Anonymous);
        }
        let Ok(arn) = Arn::parse(text) else {
            let service = text.ends_with(".amazonaws.com") && !text.contains(['/', ':', ' ']);
            return service.then(|| Self::Service(text.to_owned()));
        };
        let (account, unknown) = (arn.account()?, "unknown".to_owned());
        Some(match arn.resource().split_once('/') {
            None if arn.resource() == "root" => Self::Root { account },
            Some(("user", _)) => Self::User { account, id: unknown, arn },
            Some(("role", _)) => {
                let session = Arn::assumed_role(&account, arn.resource_name(), "session");
                Self::Session { session, role_id: unknown, account, role: arn }
            }
            Some(("assumed-role", rest)) => {
                let role = Arn::iam(&account, &format!("role/{}", rest.split('/').next()?));
                Self::Session { role, role_id: unknown, account, session: arn }
            }
            // The name of a federated user is free: whose session it is, it does not tell. No policy can name this one.
            Some(("federated-user", _)) => {
                let user = Arn::iam(&account, "user/?");
                Self::FederatedUser { user, user_id: unknown, account, session: arn }
            }
            Some(("saml-provider" | "oidc-provider", _)) => Self::Federated(arn),
            _ => return None,
        })
    }

    /// The account the caller belongs to, where there is one.
    #[must_use]
    pub const fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Root { account }
            | Self::User { account, .. }
            | Self::Session { account, .. }
            | Self::FederatedUser { account, .. } => Some(account),
            Self::Federated(_) | Self::Service(_) | Self::Anonymous => None,
        }
    }

    /// Whether identity policies exist for this kind of caller. For the others the resource's policy decides alone.
    #[must_use]
    pub const fn has_identity_side(&self) -> bool {
        self.account().is_some()
    }

    /// Whether it is a session of a service-linked role: guardrails of the organization do not bind those.
    #[must_use]
    pub fn is_service_linked(&self) -> bool {
        matches!(self, Self::Session { role, .. } if role.resource().starts_with("role/aws-service-role/"))
    }

    /// How refusals name the caller.
    #[must_use]
    pub fn describe(&self) -> &str {
        match self {
            Self::Root { account } => account.as_str(),
            Self::User { arn, .. } => arn.as_str(),
            Self::Session { session, .. } | Self::FederatedUser { session, .. } => session.as_str(),
            Self::Federated(provider) => provider.as_str(),
            Self::Service(name) => name,
            Self::Anonymous => "anonymous",
        }
    }
}

/// One value of `Principal`, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrincipalPattern {
    /// `*` or `{"AWS": "*"}`.
    Everyone,
    /// `{"AWS": "111122223333"}` or its `:root` ARN.
    Account(AccountId),
    /// `{"AWS": "<ARN of a user, role or session>"}`, or a unique id; a session by id is `<role id>:<session name>`.
    Aws(Box<str>),
    /// `{"Federated": "<provider ARN or host>"}`.
    Federated(Box<str>),
    /// `{"Service": "<name>.amazonaws.com"}`.
    Service(Box<str>),
    /// `{"CanonicalUser": "<64 hexadecimal digits>"}`: an account of S3. Read and kept; Daypass knows no such ids.
    CanonicalUser(Box<str>),
}

/// By which form of `Principal` a statement let the caller in; the earlier, the more it allows by itself
/// (IAM user guide, "Policy evaluation logic": within one account, each form is capped by different layers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// The user, session, federated user, provider or service itself.
    Itself,
    /// Everyone.
    Everyone,
    /// The role of the session, or the user behind the federated session.
    Behind,
    /// The whole account: it only opens the door for identity policies.
    Account,
}

impl PrincipalPattern {
    /// Compiles one value.
    ///
    /// # Errors
    /// The published check and a sentence, when it is no principal.
    pub fn compile(written: &PrincipalValue, kind: DocumentKind) -> Result<Self, Refused> {
        let PrincipalValue { kind: scheme, value } = written;
        if value == "*" && matches!(*scheme, "*" | "AWS") {
            return Ok(Self::Everyone);
        }
        if value.contains(['*', '?']) {
            let code = if kind == DocumentKind::Trust {
                "ROLE_TRUST_POLICY_UNSUPPORTED_WILDCARD_IN_PRINCIPAL"
            } else {
                "UNSUPPORTED_WILDCARD_IN_PRINCIPAL"
            };
            let hint = "name it in full, or use `*` alone and narrow it with a condition on aws:PrincipalArn";
            return Err((code, format!("`{value}`: a principal can't hold a wildcard: {hint}.")));
        }
        let format = |wanted: &str| ("INVALID_PRINCIPAL_FORMAT", format!("`{value}` is not {wanted}."));
        match *scheme {
            "AWS" => aws(value).ok_or_else(|| format("an account, an ARN or a unique id")),
            "Federated" => {
                let host = !value.is_empty() && value.chars().all(|c| c.is_ascii_graphic());
                if host { Ok(Self::Federated(value.as_str().into())) } else { Err(format("the ARN of a provider")) }
            }
            "Service" => {
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
                if value.contains('.') && value.chars().all(plain) {
                    Ok(Self::Service(value.as_str().into()))
                } else {
                    Err(("INVALID_SERVICE_PRINCIPAL_FORMAT", format!("`{value}` is not a service, as in ec2.amazonaws.com.")))
                }
            }
            "CanonicalUser" if value.len() == 64 && value.chars().all(|c| c.is_ascii_hexdigit()) => {
                Ok(Self::CanonicalUser(value.as_str().into()))
            }
            "CanonicalUser" => Err(format("a canonical user id: 64 hexadecimal digits")),
            _ => Err(format("a principal")),
        }
    }

    /// As a person would write it.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Everyone => "*".to_owned(),
            Self::Account(account) => format!("AWS {account}"),
            Self::Aws(arn) => format!("AWS {arn}"),
            Self::Federated(provider) => format!("Federated {provider}"),
            Self::Service(service) => format!("Service {service}"),
            Self::CanonicalUser(id) => format!("CanonicalUser {id}"),
        }
    }

    /// By which form it names the caller, if it does.
    #[must_use]
    pub fn names(&self, who: &Identity) -> Option<Form> {
        let yes = |named: bool, form: Form| named.then_some(form);
        match (self, who) {
            (Self::Everyone, _) => Some(Form::Everyone),
            (Self::Account(wanted), who) => yes(who.account() == Some(wanted), Form::Account),
            (Self::Aws(wanted), Identity::Session { role, role_id, session, .. }) => {
                if **wanted == *session.as_str() || by_id(wanted, role_id, session) {
                    Some(Form::Itself)
                } else {
                    yes(**wanted == *role.as_str() || **wanted == **role_id, Form::Behind)
                }
            }
            (Self::Aws(wanted), Identity::User { arn, id, .. }) => {
                yes(**wanted == *arn.as_str() || **wanted == **id, Form::Itself)
            }
            (Self::Aws(wanted), Identity::FederatedUser { session, user, user_id, .. }) => {
                if **wanted == *session.as_str() {
                    Some(Form::Itself)
                } else {
                    yes(**wanted == *user.as_str() || **wanted == **user_id, Form::Behind)
                }
            }
            (Self::Federated(wanted), Identity::Federated(provider)) => yes(**wanted == *provider.as_str(), Form::Itself),
            (Self::Service(wanted), Identity::Service(service)) => yes(**wanted == **service, Form::Itself),
            (Self::Aws(_) | Self::Federated(_) | Self::Service(_) | Self::CanonicalUser(_), _) => None,
        }
    }
}

/// `AROA…:jane` names the session `jane` of the role with that id.
fn by_id(wanted: &str, role_id: &str, session: &Arn) -> bool {
    wanted.split_once(':').is_some_and(|(id, name)| id == role_id && name == session.resource_name())
}

fn aws(value: &str) -> Option<PrincipalPattern> {
    if let Ok(account) = AccountId::parse(value) {
        return Some(PrincipalPattern::Account(account));
    }
    if let Ok(arn) = Arn::parse(value) {
        return Some(match arn.account() {
            Some(account) if arn == Arn::iam(&account, "root") => PrincipalPattern::Account(account),
            _ => PrincipalPattern::Aws(value.into()),
        });
    }
    is_unique_id(value).then(|| PrincipalPattern::Aws(value.into()))
}

/// `AROA…` or `AIDA…` (IAM user guide, "Unique identifiers"), the former perhaps with `:<session name>`.
#[must_use]
pub fn is_unique_id(value: &str) -> bool {
    let (id, session) = value.split_once(':').map_or((value, None), |(id, session)| (id, Some(session)));
    let plain = id.len() >= 16 && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    let role = id.starts_with("AROA");
    plain && (role || id.starts_with("AIDA")) && session.is_none_or(|session| role && !session.is_empty())
}

/// A compiled `Principal` or `NotPrincipal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principals {
    /// `NotPrincipal`.
    pub negated: bool,
    /// One of these.
    pub patterns: Box<[PrincipalPattern]>,
}

impl Principals {
    /// By which form the element covers the caller.
    ///
    /// `NotPrincipal` covers everyone who is not named. In an `Allow` naming any of the caller's identities (the session, its
    /// role, its account) is enough to be left out; in a `Deny` all of them must be named, and a caller with a permissions
    /// boundary is never left out.
    #[must_use]
    pub fn cover(&self, who: &Identity, deny: bool, bounded: bool) -> Option<Form> {
        if !self.negated {
            return self.patterns.iter().filter_map(|pattern| pattern.names(who)).min();
        }
        let named = |form: Form| self.patterns.iter().any(|pattern| pattern.names(who) == Some(form));
        let left_out = if named(Form::Everyone) {
            true
        } else if deny {
            let forms: &[Form] = match who {
                Identity::Session { .. } | Identity::FederatedUser { .. } => &[Form::Itself, Form::Behind, Form::Account],
                Identity::User { .. } => &[Form::Itself, Form::Account],
                Identity::Root { .. } => &[Form::Account],
                Identity::Federated(_) | Identity::Service(_) | Identity::Anonymous => &[Form::Itself],
            };
            !bounded && forms.iter().all(|form| named(*form))
        } else {
            [Form::Itself, Form::Behind, Form::Account].into_iter().any(named)
        };
        (!left_out).then_some(Form::Everyone)
    }
}
