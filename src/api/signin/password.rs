//! Passwords of the built-in directory: links to set one, for people who are invited or forgot theirs, and changing one's own.

use super::{Signin, administered};
use crate::{
    domain::{Error, ErrorKind, Secret, Timestamp, directory::User},
    federation::directory,
    gateway::{Access, Broker, Call, Issue, Operation, Read, Scope, Write},
};
use serde::{Deserialize, Serialize};

/// By user id: a new link for somebody replaces the old one.
const KIND: &str = "password-link";
/// How long a link is good, in seconds.
pub const LINK_SECONDS: i64 = 3 * 86_400;

/// A link at rest.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct PasswordLink {
    /// SHA-256 of the secret in the link.
    secret: String,
}

/// Makes a link with which a person of the directory sets a password.
#[derive(Debug, Deserialize)]
pub struct MakePasswordLink {
    /// Of the person: `u-…`
    pub id: String,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct PasswordLinkAnswer {
    /// Shown once: the address to give to the person.
    #[serde(skip)]
    pub url: Secret<String>,
    /// Until when it is good.
    pub expires: Timestamp,
}

impl Operation for MakePasswordLink {
    type Service = Signin;
    type Mode = Issue;
    type Output = PasswordLinkAnswer;
    const NAME: &'static str = "MakePasswordLink";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        administered(scope, "sso-directory:UpdatePassword")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<PasswordLinkAnswer, Error> {
        let broker = call.broker;
        let user = broker.store.read().user_by_id(&self.id).await?.filter(|user| !user.disabled);
        let unknown = || Error::new(ErrorKind::NoSuchEntity, "There is nobody with this id in the directory who can sign in.");
        let user = user.ok_or_else(unknown)?;
        call.tx.note("user", &user.id);
        let (secret, expires) = (broker.random.token(), call.caller.origin.time.plus_seconds(LINK_SECONDS));
        let link = PasswordLink { secret: crate::crypto::sha256_hex(&secret) };
        broker.store.ephemeral().put(KIND, &user.id, &link, expires).await?;
        let url = broker.federation.addresses.at(&format!("/set-password/{}~{secret}", user.id));
        Ok(PasswordLinkAnswer { url: Secret::new(url), expires })
    }
}

/// Whose link it is. A link is `<user id>~<secret>`.
async fn find(broker: &Broker, token: &Secret<String>) -> Result<User, Error> {
    let gone = || Error::new(ErrorKind::NoSuchEntity, "This link was used or replaced, or is too old. Ask for another one.");
    let (id, secret) = token.expose().rsplit_once('~').ok_or_else(gone)?;
    let link: Option<PasswordLink> = broker.store.ephemeral().get(KIND, id).await?;
    link.filter(|link| link.secret == crate::crypto::sha256_hex(secret)).ok_or_else(gone)?;
    let user = broker.store.read().user_by_id(id).await?;
    user.filter(|user| !user.disabled).ok_or_else(gone)
}

/// Whom a link is for.
#[derive(Debug, Deserialize)]
pub struct LookUpPasswordLink {
    /// From the link.
    pub token: Secret<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct PasswordOwner {
    /// Name to sign in with.
    pub user_name: String,
    /// What pages call the person.
    pub display_name: String,
}

impl Operation for LookUpPasswordLink {
    type Service = Signin;
    type Mode = Read;
    type Output = PasswordOwner;
    const NAME: &'static str = "LookUpPasswordLink";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "the link that an administrator made is the proof" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<PasswordOwner, Error> {
        let user = find(call.broker, &self.token).await?;
        Ok(PasswordOwner { user_name: user.name.to_string(), display_name: user.display_name })
    }
}

/// Uses a link up: the password is set, and everything the person holds ends.
#[derive(Debug, Deserialize)]
pub struct SetPassword {
    /// From the link.
    pub token: Secret<String>,
    /// The new password.
    pub password: Secret<String>,
}

impl Operation for SetPassword {
    type Service = Signin;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "SetPassword";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "the link that an administrator made is the proof; it is good once" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let user = find(call.broker, &self.token).await?;
        set(call, user.clone(), &self.password).await?;
        // Burned last: what the policy refuses costs no link. Changes come one after the other.
        let burned: Option<PasswordLink> = call.broker.store.ephemeral().take(KIND, &user.id).await?;
        burned.map(drop).ok_or_else(|| Error::new(ErrorKind::NoSuchEntity, "This link was used."))
    }
}

/// Changes the caller's own password, and ends everything they hold.
#[derive(Debug, Deserialize)]
pub struct ChangePassword {
    /// The old one.
    pub current: Secret<String>,
    /// The new one.
    pub password: Secret<String>,
}

impl Operation for ChangePassword {
    type Service = Signin;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "ChangePassword";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Person { because: "a person's own password, with the old one" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let person = call.caller.person().map(|session| session.identity.factor_owner()).unwrap_or_default();
        let identity = call.broker.federation.person_of_directory(&person).await?;
        let none = || Error::invalid("You have no password here: change it at your identity provider.");
        let identity = identity.ok_or_else(none)?;
        let user = call.broker.store.read().user_by_id(&identity.subject).await?.ok_or_else(none)?;
        let from = call.caller.origin.source_ip;
        call.broker.federation.check_password(&user, self.current, from).await?;
        set(call, user, &self.password).await
    }
}

async fn set<O: Operation<Mode = Write>>(call: &mut Call<'_, O>, user: User, password: &Secret<String>) -> Result<(), Error> {
    directory::check_new_password(password, &user)?;
    let hashed = password.clone();
    let hash = tokio::task::spawn_blocking(move || directory::hash(&hashed)).await.map_err(Error::internal)??;
    call.tx.note("user", &user.id);
    call.tx.put_user(&User { password_hash: Some(hash), ..user.clone() }).await?;
    call.tx.end_person_of_directory(&user.id).await
}
