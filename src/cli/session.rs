//! Who is signed in, and the credentials they took: kept, renewed before they end, by one process at a time.

use super::{
    Failure,
    client::{BrokerClient, Refused, RoleCredentials},
    home::{Home, SESSIONS},
    login::now,
    role::forget_known,
};
use crate::{
    crypto::sha256_hex,
    domain::{Secret, Timestamp},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

/// Credentials, for each broker, each under a name of its own.
const CREDENTIALS: &str = "credentials/";
/// Profiles of browsers, for each broker, each for a role.
const BROWSERS: &str = "browsers/";
/// What has less than this left is taken anew, in seconds.
const FRESH_SECONDS: i64 = 300;
/// What has less than this left is not given out instead of new ones, in seconds.
const LEFT_SECONDS: i64 = 60;
/// How long a broker is waited for while something is left.
const PATIENCE: Duration = Duration::from_secs(3);

/// Who is signed in where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SavedSession {
    /// Made at the sign-in: what was taken in one session is not found in the next.
    pub(super) id: String,
    pub(super) url: String,
    /// `<source>:<subject>`: browsers that were opened for somebody are not the next one's.
    #[serde(default)]
    pub(super) person: String,
    pub(super) client_id: String,
    #[serde(serialize_with = "Secret::reveal")]
    pub(super) client_secret: Secret<String>,
    #[serde(flatten)]
    pub(super) token: SavedToken,
}

/// A token, and what renews it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SavedToken {
    #[serde(serialize_with = "Secret::reveal")]
    pub(super) access_token: Secret<String>,
    pub(super) expires: Timestamp,
    #[serde(serialize_with = "Secret::reveal_any", default)]
    pub(super) refresh_token: Option<Secret<String>>,
}

/// The answer of the token endpoint.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Token {
    access_token: Secret<String>,
    expires_in: i64,
    refresh_token: Option<Secret<String>>,
}

impl From<Token> for SavedToken {
    fn from(token: Token) -> Self {
        Self {
            access_token: token.access_token,
            expires: now().plus_seconds(token.expires_in),
            refresh_token: token.refresh_token,
        }
    }
}

impl SavedToken {
    fn lives(&self, seconds: i64) -> bool {
        self.expires > now().plus_seconds(seconds)
    }
}

/// What is kept of a broker, below a folder.
pub(super) fn name(folder: &str, url: &str) -> String {
    format!("{folder}{}", sha256_hex(url).get(..16).unwrap_or_default())
}

impl SavedSession {
    /// As it was kept, whether it still lives or not.
    pub(super) fn load(home: &Home) -> Result<Self, Failure> {
        let url = home.broker().ok_or_else(|| Failure::signed_out("you are not signed in"))?;
        home.kept(&name(SESSIONS, url)).ok_or_else(|| Failure::signed_out_of(url, format!("you are not signed in to {url}")))
    }

    /// Under this name it is kept.
    fn name(&self) -> String {
        name(SESSIONS, &self.url)
    }

    fn credentials(&self) -> String {
        name(CREDENTIALS, &self.url)
    }

    /// Where browsers have their profiles that are opened for it.
    pub(super) fn browsers(&self) -> String {
        name(BROWSERS, &self.url)
    }

    /// Takes the place of the session before. What that one took is not for this one.
    pub(super) async fn begin(&self, home: &Home) -> Result<(), Failure> {
        // A process that renews the old one now must not bring it back.
        let _turn = home.turn(&self.name()).await?;
        let before: Option<Self> = home.kept(&self.name());
        home.keep(&self.name(), self)?;
        // It is begun, whatever stays of the one before: that one's credentials are not found by this one.
        let _ = home.forget(&format!("{}/", self.credentials()));
        if before.is_some_and(|before| before.person != self.person) {
            let _ = home.forget(&format!("{}/", self.browsers()));
        }
        Ok(())
    }

    /// One whose token lives, however short.
    async fn living(home: &Home) -> Result<Self, Failure> {
        let session = Self::load(home)?;
        if session.token.lives(0) { Ok(session) } else { Self::fresh(home).await }
    }

    /// One whose token lives for a while: renewed where it has to be.
    pub(super) async fn fresh(home: &Home) -> Result<Self, Failure> {
        let session = Self::load(home)?;
        if session.token.lives(FRESH_SECONDS) {
            return Ok(session);
        }
        let _turn = home.turn(&session.name()).await?;
        // Another process may have renewed it while this one waited.
        let session = Self::load(home)?;
        if session.token.lives(FRESH_SECONDS) {
            return Ok(session);
        }
        match session.renewed().await {
            Ok(Ok(token)) => {
                let session = Self { token: token.into(), ..session };
                home.keep(&session.name(), &session)?;
                Ok(session)
            }
            // What can't be renewed is good to its end.
            _ if session.token.lives(0) => Ok(session),
            Ok(Err(_)) => Err(Failure::signed_out_of(&session.url, "your session has ended")),
            Err(failure) => Err(failure),
        }
    }

    async fn renewed(&self) -> Result<Result<Token, Option<Refused>>, Failure> {
        let Some(refresh_token) = &self.token.refresh_token else { return Ok(Err(None)) };
        let body = json!({
            "clientId": self.client_id, "clientSecret": self.client_secret.expose(),
            "grantType": "refresh_token", "refreshToken": refresh_token.expose(),
        });
        match BrokerClient::new(&self.url)?.post("/token", &body).await? {
            // A broker that has trouble has not refused.
            Err(refused) if refused.status >= 500 => Err(Failure::new(refused.message)),
            answer => Ok(answer.map_err(Some)),
        }
    }

    /// Ends it here, with what it took and the browsers that were opened for it.
    pub(super) async fn forget(&self, home: &Home) -> Result<(), Failure> {
        let _turn = home.turn(&self.name()).await?;
        home.forget(&self.name())?;
        forget_known(home, &self.url)?;
        home.forget(&format!("{}/", self.credentials()))?;
        home.forget(&format!("{}/", self.browsers()))
    }

    fn place(&self, account: &str, role: &str) -> String {
        format!("{}/{}", self.credentials(), sha256_hex(format!("{} {account} {}", self.id, role.to_lowercase())))
    }

    /// Credentials that were taken before and live for a while, without asking anybody.
    pub(super) fn cached(&self, home: &Home, account: &str, role: &str) -> Option<RoleCredentials> {
        self.left(home, account, role, FRESH_SECONDS)
    }

    fn left(&self, home: &Home, account: &str, role: &str, seconds: i64) -> Option<RoleCredentials> {
        let kept: Option<RoleCredentials> = home.kept(&self.place(account, role));
        kept.filter(|kept| Timestamp(kept.expiration) > now().plus_seconds(seconds))
    }
}

/// Credentials of a role: those that were taken before, else new ones. Of many processes that ask at once, one takes them.
pub(super) async fn role_credentials(home: &Home, account: &str, role: &str) -> Result<RoleCredentials, Failure> {
    let session = SavedSession::load(home)?;
    if let Some(cached) = session.cached(home, account, role) {
        return Ok(cached);
    }
    let place = session.place(account, role);
    let _turn = home.turn(&place).await?;
    if let Some(cached) = session.cached(home, account, role) {
        return Ok(cached);
    }
    let session = SavedSession::fresh(home).await?;
    let credentials = new_role_credentials(&session, account, role).await?;
    home.keep(&place, &credentials)?;
    Ok(credentials)
}

/// The same for programs that ask again by themselves: while something is left of those before, a broker that is slow, or away, is
/// not waited for.
pub(super) async fn role_credentials_or_left(home: &Home, account: &str, role: &str) -> Result<RoleCredentials, Failure> {
    let session = SavedSession::load(home)?;
    let Some(left) = session.left(home, account, role, LEFT_SECONDS) else {
        return role_credentials(home, account, role).await;
    };
    let place = session.place(account, role);
    let Ok(turn) = tokio::time::timeout(PATIENCE, home.turn(&place)).await else { return Ok(left) };
    let _turn = turn?;
    if let Some(cached) = session.cached(home, account, role) {
        return Ok(cached);
    }
    // A token is renewed only where it has to be, and then to the end: who hangs up loses the next one, and the old is used up.
    let session = match SavedSession::living(home).await {
        Err(failure) if !failure.is_of_the_session() => return Ok(left),
        session => session?,
    };
    match tokio::time::timeout(PATIENCE, new_role_credentials(&session, account, role)).await {
        Ok(Err(failure)) if failure.is_of_the_session() => Err(failure),
        Ok(Ok(credentials)) => {
            home.keep(&place, &credentials)?;
            Ok(credentials)
        }
        Ok(Err(_)) | Err(_) => Ok(left),
    }
}

/// New credentials of a role.
pub(super) async fn new_role_credentials(session: &SavedSession, account: &str, role: &str) -> Result<RoleCredentials, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        role_credentials: RoleCredentials,
    }
    let client = BrokerClient::new(&session.url)?;
    let query = [("account_id", account), ("role_name", role)];
    Ok(client.get::<Answer>("/federation/credentials", &query, &session.token.access_token).await?.role_credentials)
}
