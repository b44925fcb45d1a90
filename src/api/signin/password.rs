//! Passwords of the built-in directory: links to set one, for people who are invited or forgot theirs, and changing one's own.

use super::{Signin, administered};
use crate::{
    domain::{Error, ErrorKind, Secret, Timestamp, directory::User},
    gateway::{Access, Broker, Call, Issue, Operation, Read, Scope, Write},
    store::{EphemeralKind, PASSWORD_LINK},
};
use serde::{Deserialize, Serialize};

/// A changed password that waits for the pen.
const CHANGE: EphemeralKind = EphemeralKind::passing("password-change");
/// How long, in seconds.
const CHANGE_SECONDS: i64 = 60;
/// How long a link is good, in seconds.
pub const LINK_SECONDS: i64 = 3 * 86_400;

/// A link at rest.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct PasswordLink {
    /// SHA-256 of the secret in the link.
    secret: String,
}

/// Makes a link with which a person of the directory sets a password.
#[derive(Debug, Serialize, Deserialize)]
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
        administered(scope, &["sso-directory:UpdatePassword"])
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<PasswordLinkAnswer, Error> {
        let broker = call.broker;
        let user = broker.store.read().user_by_id(&self.id).await?.filter(|user| !user.disabled);
        let unknown = || Error::new(ErrorKind::NoSuchEntity, "There is nobody with this id in the directory who can sign in.");
        let user = user.ok_or_else(unknown)?;
        call.tx.note("user", &user.id);
        let (secret, expires) = (broker.random.token(), call.caller.origin.time.plus_seconds(LINK_SECONDS));
        let link = PasswordLink { secret: crate::crypto::sha256_hex(&secret) };
        broker.store.ephemeral().put(PASSWORD_LINK, &user.id, &link, expires).await?;
        let url = broker.federation.addresses.at(&format!("/set-password/{}~{secret}", user.id));
        Ok(PasswordLinkAnswer { url: Secret::new(url), expires })
    }
}

/// Whose link it is. A link is `<user id>~<secret>`.
async fn find(broker: &Broker, token: &Secret<String>) -> Result<User, Error> {
    let gone = || Error::new(ErrorKind::NoSuchEntity, "This link was used or replaced, or is too old. Ask for another one.");
    let (id, secret) = token.expose().rsplit_once('~').ok_or_else(gone)?;
    let link: Option<PasswordLink> = broker.store.ephemeral().get(PASSWORD_LINK, id).await?;
    link.filter(|link| link.secret == crate::crypto::sha256_hex(secret)).ok_or_else(gone)?;
    let user = broker.store.read().user_by_id(id).await?;
    user.filter(|user| !user.disabled).ok_or_else(gone)
}

/// Whom a link is for.
#[derive(Debug, Serialize, Deserialize)]
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

/// Checks a new password for whom a link is for. Hashing takes its time, and holds no pen; what is refused costs no link.
#[derive(Debug, Serialize, Deserialize)]
pub struct BeginSetPassword {
    /// From the link.
    pub token: Secret<String>,
    /// The new password.
    pub password: Secret<String>,
}

impl Operation for BeginSetPassword {
    type Service = Signin;
    type Mode = Issue;
    type Output = String;
    const NAME: &'static str = "BeginSetPassword";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "the link that an administrator made is the proof" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<String, Error> {
        let user = find(call.broker, &self.token).await?;
        call.tx.note("user", &user.id);
        park(call, user, &self.password).await
    }
}

/// Uses a link up: the password is set, and everything the person holds ends.
#[derive(Debug, Serialize, Deserialize)]
pub struct SetPassword {
    /// From the link.
    pub token: Secret<String>,
    /// From [`BeginSetPassword`].
    pub handle: String,
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
        put(call, user, &self.handle).await
    }
}

/// Looks at a new password, and keeps its hash until it is written.
async fn park<O: Operation<Mode = Issue>>(
    call: &mut Call<'_, O>,
    user: User,
    password: &Secret<String>,
) -> Result<String, Error> {
    let new = call.broker.federation.new_password(password, &user).await?;
    if new.unasked {
        call.tx.note("breachedPasswords", "no answer");
    }
    let (handle, until) = (call.broker.random.token(), call.caller.origin.time.plus_seconds(CHANGE_SECONDS));
    let change = PasswordChange { user_id: user.id, old: user.password_hash, new: new.hash };
    call.broker.store.ephemeral().put(CHANGE, &handle, &change, until).await?;
    Ok(handle)
}

/// Writes a password that was kept, where nobody wrote another one meanwhile. Everything the person holds ends.
async fn put<O: Operation<Mode = Write>>(call: &mut Call<'_, O>, user: User, handle: &str) -> Result<(), Error> {
    let change: Option<PasswordChange> = call.broker.store.ephemeral().take(CHANGE, handle).await?;
    let fits = |change: &PasswordChange| change.user_id == user.id && user.password_hash == change.old;
    let change = change.filter(fits).ok_or_else(|| Error::invalid("The password was changed meanwhile. Try again."))?;
    call.tx.note("user", &user.id);
    let user = User { password_hash: Some(change.new), ..user };
    call.tx.put_user(&user).await?;
    call.tx.end_person_of_directory(&user.id).await
}

/// A password that was checked and hashed, and the hash that it takes the place of.
#[derive(Serialize, Deserialize)]
struct PasswordChange {
    user_id: String,
    #[serde(serialize_with = "reveal")]
    old: Option<Secret<String>>,
    #[serde(serialize_with = "Secret::reveal")]
    new: Secret<String>,
}

fn reveal<S: serde::Serializer>(hash: &Option<Secret<String>>, serializer: S) -> Result<S::Ok, S::Error> {
    hash.as_ref().map(Secret::expose).serialize(serializer)
}

/// Checks the caller's password and the one that is to come. Hashing takes its time, and holds no pen.
#[derive(Debug, Serialize, Deserialize)]
pub struct BeginPasswordChange {
    /// The old one.
    pub current: Secret<String>,
    /// The new one.
    pub password: Secret<String>,
}

fn no_password() -> Error {
    Error::invalid("You have no password here: change it at your identity provider.")
}

/// The caller, where they are of the directory.
async fn own<O: Operation>(call: &Call<'_, O>) -> Result<User, Error> {
    let person = call.caller.person().map(|session| session.identity.factor_owner()).unwrap_or_default();
    let identity = call.broker.federation.person_of_directory(&person).await?.ok_or_else(no_password)?;
    call.broker.store.read().user_by_id(&identity.subject).await?.ok_or_else(no_password)
}

impl Operation for BeginPasswordChange {
    type Service = Signin;
    type Mode = Issue;
    type Output = String;
    const NAME: &'static str = "BeginPasswordChange";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Person { because: "a person's own password, with the old one" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<String, Error> {
        let user = own(call).await?;
        call.tx.note("user", &user.id);
        call.broker.federation.check_password(&user, self.current, call.caller.origin.source_ip).await?;
        park(call, user, &self.password).await
    }
}

/// Changes the caller's own password, and ends everything they hold.
#[derive(Debug, Serialize, Deserialize)]
pub struct ChangePassword {
    /// From [`BeginPasswordChange`].
    pub handle: String,
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
        let user = own(call).await?;
        put(call, user, &self.handle).await
    }
}
