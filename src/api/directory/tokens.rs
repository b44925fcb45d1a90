//! Tokens of SCIM clients: made once, shown once, good until they end or are removed.

use super::Directory;
use crate::{
    api::signin::administered,
    crypto::sha256_hex,
    domain::{
        Error, ErrorKind, Secret,
        directory::{BearerToken, TokenScope},
    },
    gateway::{Access, Call, Operation, Read, Scope, Write, scim::TOKEN_PREFIX},
};
use serde::{Deserialize, Serialize};

/// Longest life of a token, in days (as in AWS IAM Identity Center, "Automatic provisioning").
pub(super) const MAX_DAYS: u32 = 366;
/// Most tokens at a time.
const MAX_TOKENS: usize = 20;
/// Longest name, in characters.
const MAX_NAME: usize = 64;

/// Makes a token.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateBearerToken {
    /// What to call it; unique.
    pub name: String,
    /// What it is good for.
    pub scope: TokenScope,
    /// Whether it may take over people and groups that were made here.
    pub takeover: bool,
    /// Its life, in days: 1 to [`MAX_DAYS`].
    pub days: u32,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct CreatedBearerToken {
    /// What the client presents. Shown this once.
    #[serde(serialize_with = "Secret::reveal")]
    pub token: Secret<String>,
    /// When it ends.
    pub expires: String,
}

impl Operation for CreateBearerToken {
    type Service = Directory;
    type Mode = Write;
    type Output = CreatedBearerToken;
    const NAME: &'static str = "CreateBearerToken";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        // Nobody gives away by a token what they may not do themselves. Who changes people decides about roles, too: a name can
        // be given to somebody else, and trust policies read departments.
        let mut actions = vec!["sso-directory:CreateBearerToken", "sso-directory:SearchUsers"];
        if self.scope >= TokenScope::Users {
            actions.extend(["sso-directory:CreateUser", "sso-directory:UpdateUser", "sso-directory:DeleteUser"]);
            actions.extend(["sso-directory:DisableUser", "sso-directory:EnableUser"]);
            actions.extend(["sso-directory:AddMemberToGroup", "sso-directory:RemoveMemberFromGroup"]);
        }
        if self.scope >= TokenScope::UsersAndGroups {
            actions.extend(["sso-directory:CreateGroup", "sso-directory:UpdateGroup", "sso-directory:DeleteGroup"]);
        }
        administered(scope, &actions)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<CreatedBearerToken, Error> {
        let name = self.name.trim();
        if !(1..=MAX_NAME).contains(&name.chars().count()) || name.chars().any(char::is_control) {
            return Err(Error::invalid(format!("The name of a token has 1 to {MAX_NAME} characters.")));
        }
        if !(1..=MAX_DAYS).contains(&self.days) {
            return Err(Error::invalid(format!("A token lives 1 to {MAX_DAYS} days.")));
        }
        let known = call.tx.read().bearer_tokens().await?;
        if known.iter().any(|token| token.name == name) {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("There is a token {name} already.")));
        }
        if known.len() >= MAX_TOKENS {
            return Err(Error::new(ErrorKind::LimitExceeded, format!("There are {MAX_TOKENS} tokens: remove one first.")));
        }
        let (random, now) = (&call.broker.random, call.caller.origin.time);
        let (id, secret) = (random.text(b"abcdefghijklmnopqrstuvwxyz234567", 12), Secret::new(random.token()));
        let token = BearerToken {
            id,
            name: name.to_owned(),
            scope: self.scope,
            takeover: self.takeover,
            created: now,
            expires: now.plus_seconds(i64::from(self.days) * 86_400),
        };
        call.tx.note("token", &token.id);
        call.tx.note("name", &token.name);
        call.tx.note("scope", token.scope);
        call.tx.note("takeover", token.takeover);
        call.tx.put_bearer_token(&token, &sha256_hex(secret.expose())).await?;
        let shown = Secret::new(format!("{TOKEN_PREFIX}{}_{}", token.id, secret.expose()));
        Ok(CreatedBearerToken { token: shown, expires: token.expires.to_string() })
    }
}

/// Lists tokens, without their secrets.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListBearerTokens {}

/// A token.
#[derive(Clone, Debug, Serialize)]
pub struct BearerTokenInfo {
    /// In the token itself.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// What it is good for.
    pub scope: TokenScope,
    /// Whether it may take over what was made here.
    pub takeover: bool,
    /// When it was made.
    pub created: String,
    /// When it ends.
    pub expires: String,
    /// Whether that is past.
    pub over: bool,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct BearerTokens {
    /// By name.
    pub tokens: Vec<BearerTokenInfo>,
    /// The address that the client is told.
    pub endpoint: String,
}

impl Operation for ListBearerTokens {
    type Service = Directory;
    type Mode = Read;
    type Output = BearerTokens;
    const NAME: &'static str = "ListBearerTokens";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        administered(scope, &["sso-directory:ListBearerTokens"])
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<BearerTokens, Error> {
        let now = call.caller.origin.time;
        let tokens = call.tx.bearer_tokens().await?.into_iter().map(|token| BearerTokenInfo {
            over: token.expires <= now,
            id: token.id,
            name: token.name,
            scope: token.scope,
            takeover: token.takeover,
            created: token.created.to_string(),
            expires: token.expires.to_string(),
        });
        Ok(BearerTokens { tokens: tokens.collect(), endpoint: call.broker.federation.addresses.at("/scim/v2") })
    }
}

/// Removes a token: from then on it is worth nothing.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteBearerToken {
    /// In the token itself.
    pub id: String,
}

impl Operation for DeleteBearerToken {
    type Service = Directory;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "DeleteBearerToken";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        administered(scope, &["sso-directory:DeleteBearerToken"])
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        call.tx.note("token", &self.id);
        match call.tx.delete_bearer_token(&self.id).await? {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::NoSuchEntity, "There is no such token.")),
        }
    }
}
