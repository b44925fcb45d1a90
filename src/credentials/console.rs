//! Console sign-in links: session credentials in, a one-time sign-in token out, and back (AWS IAM user guide,
//! "Enabling custom identity broker access to the AWS console").

use crate::{
    crypto::{
        same,
        seal::{KeyRing, Purpose},
    },
    domain::{Error, ErrorKind, Random, Secret, Timestamp, session::RoleSession},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// How long a sign-in token lives, in seconds.
pub const SIGNIN_TOKEN_SECONDS: i64 = 900;

/// What `getSigninToken` is given: the `Session` parameter.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsoleCredentials {
    /// Access key id.
    pub session_id: String,
    /// Secret access key.
    pub session_key: Secret<String>,
    /// Session token.
    pub session_token: Secret<String>,
}

/// The inside of a sign-in token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SigninToken {
    /// Names the token, for the one-time mark.
    pub id: String,
    /// When it ends.
    pub expires: Timestamp,
    /// The session it opens.
    pub session: RoleSession,
    /// When the console session ends.
    pub console_until: Timestamp,
}

/// Checks the credentials and seals a sign-in token. `seconds` asks for a console session of that length, up to the life of
/// the credentials; a session made from another session can't ask (as at AWS).
///
/// # Errors
/// `UnknownKey` when the three parts don't belong together, `ExpiredCredentials`, `InvalidInput`.
pub fn signin_token(
    credentials: &ConsoleCredentials,
    seconds: Option<u32>,
    ring: &KeyRing,
    random: &dyn Random,
    now: Timestamp,
) -> Result<(Secret<String>, RoleSession), Error> {
    let wrong = || Error::new(ErrorKind::UnknownKey, "The credentials in Session are not valid");
    let session = super::open_role(ring, credentials.session_token.expose()).ok_or_else(wrong)?;
    let whole = same(&session.access_key_id, &credentials.session_id)
        && same(session.secret_access_key.expose(), credentials.session_key.expose());
    if !whole {
        return Err(wrong());
    }
    if session.expires <= now {
        return Err(Error::new(ErrorKind::ExpiredCredentials, "The credentials in Session have expired"));
    }
    let mut console_until = session.expires;
    if let Some(seconds) = seconds {
        if session.chained {
            return Err(Error::invalid("SessionDuration can't be used with credentials from role chaining"));
        }
        if !(900..=43_200).contains(&seconds) {
            return Err(Error::invalid("SessionDuration must be 900 to 43200 seconds"));
        }
        console_until = console_until.min(now.plus_seconds(i64::from(seconds)));
    }
    let token = SigninToken {
        id: random.token(),
        expires: now.plus_seconds(SIGNIN_TOKEN_SECONDS),
        session: session.clone(),
        console_until,
    };
    let plain = serde_json::to_vec(&token).map_err(Error::internal)?;
    let sealed = ring.seal(Purpose::SigninToken, "", &plain).map_err(Error::internal)?;
    Ok((Secret::new(URL_SAFE_NO_PAD.encode(sealed)), session))
}

/// Opens a sign-in token. Using it up is the caller's part.
///
/// # Errors
/// `StaleStep` when it is not ours or has expired.
pub fn open_signin_token(ring: &KeyRing, token: &str, now: Timestamp) -> Result<SigninToken, Error> {
    let stale = || {
        Error::new(
            ErrorKind::StaleStep,
            "This console link has expired or was used before. Open the console again from the portal.",
        )
    };
    let sealed = URL_SAFE_NO_PAD.decode(token).map_err(|_| stale())?;
    let plain = ring.open(Purpose::SigninToken, "", &sealed).ok_or_else(stale)?;
    let token: SigninToken = serde_json::from_slice(&plain).map_err(|_| stale())?;
    if token.expires <= now || token.console_until <= now { Err(stale()) } else { Ok(token) }
}
