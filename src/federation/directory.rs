//! The built-in directory: signing in with a password, and what trust policies see of its people.

use super::{Failure, Federation, Identified, recorder::Recording};
use crate::domain::{
    Error, ErrorKind, Secret,
    directory::{PROFILE_CLAIMS, User},
    iam::{DIRECTORY_ISSUER, IdentityProvider},
    name::UserName,
    session::{FederationProtocol, IdentityAssertion, ProviderRef, SessionTags},
};
use std::{collections::BTreeMap, net::IpAddr};

impl Federation {
    /// What trust policies would see of somebody of the directory who signs in now.
    #[must_use]
    pub fn directory_assertion(&self, source: &IdentityProvider, user: &User) -> IdentityAssertion {
        assertion(self, source, user)
    }

    /// Whether this is the person's password. Guessing is slowed down as at the sign-in.
    ///
    /// # Errors
    /// `RejectedIdentity`; `Unavailable` when too many wait.
    pub async fn check_password(&self, user: &User, password: Secret<String>, from: IpAddr) -> Result<(), Error> {
        let (name, now) = (user.name.as_str(), self.clock.now());
        if let Some(seconds) = self.attempts.pause(name, from, now) {
            return Err(Error::new(ErrorKind::RejectedIdentity, format!("Too many attempts. Try again in {seconds} seconds.")));
        }
        let _place = self.password_place()?;
        self.attempts.attempted(name, from, now);
        let hash = user.password_hash.clone().unwrap_or_else(|| Secret::new(self.passwords.nobody.clone()));
        let known = user.password_hash.is_some();
        if self.is_right(password, hash).await && known {
            self.attempts.succeeded(name, from);
            return Ok(());
        }
        Err(Error::new(ErrorKind::RejectedIdentity, "The password you have now is another one."))
    }
}

pub(super) async fn complete(
    federation: &Federation,
    source: &IdentityProvider,
    user_name: &str,
    password: Secret<String>,
    from: IpAddr,
) -> Result<Identified, Failure> {
    let mut recording = Recording::default();
    let now = federation.clock.now();
    if let Some(seconds) = federation.attempts.pause(user_name.trim(), from, now) {
        // Before any hashing: a guesser costs us nothing.
        let error = Error::new(ErrorKind::RejectedIdentity, format!("Too many attempts. Try again in {seconds} seconds."));
        return Err(Failure {
            error: error.with_private("attempts_paused: too many wrong passwords from this address"),
            recording,
        });
    }
    // Counted before it is known, and taken back by success: a burst of parallel guesses is a burst of counts.
    federation.attempts.attempted(user_name.trim(), from, now);
    let user =
        federation.store.read().user(user_name.trim()).await.map_err(|error| Failure { error, recording: recording.clone() })?;
    let usable = user.as_ref().filter(|user| !user.disabled).and_then(|user| user.password_hash.clone());
    let known = usable.is_some();
    let hash = usable.unwrap_or_else(|| Secret::new(federation.passwords.nobody.clone()));
    let right = federation.is_right(password, hash).await;
    let shown: String = user_name.chars().take(64).collect();
    let checks = recording
        .require("user", "user_unknown", "a person who can sign in", &shown, known)
        .and_then(|()| recording.require("password", "password_wrong", "the right password", "another", right));
    match (checks, user) {
        (Ok(()), Some(user)) => {
            federation.attempts.succeeded(user_name.trim(), from);
            Ok(Identified { assertion: assertion(federation, source, &user), at_provider: None, refresh: None, recording })
        }
        (outcome, _) => {
            let why = outcome.err().map(|refusal| refusal.to_string()).unwrap_or_default();
            let error = Error::new(ErrorKind::RejectedIdentity, "The name or the password is not right.").with_private(why);
            Err(Failure { error, recording })
        }
    }
}

/// What trust policies see of somebody because they are in the directory: `directory:sub`, `:aud`, `:name`, `:email`, `:user_name`,
/// `:groups`, `:group_ids`, and what a SCIM
/// client says of them, see [`PROFILE_CLAIMS`].
fn claims(user: &User) -> BTreeMap<String, Vec<String>> {
    let mut claims = BTreeMap::new();
    let mut set = |claim: &str, values: Vec<String>| claims.insert(format!("{DIRECTORY_ISSUER}:{claim}"), values);
    set("sub", vec![user.id.clone()]);
    set("groups", user.groups.iter().map(ToString::to_string).collect());
    set("group_ids", user.group_ids.clone());
    set("user_name", vec![user.name.to_string()]);
    set("name", vec![user.display_name.clone()]);
    if !user.email.is_empty() {
        set("email", vec![user.email.clone()]);
    }
    for (attribute, claim) in PROFILE_CLAIMS {
        if let Some(value) = user.profile.text(attribute) {
            set(claim, vec![value.to_owned()]);
        }
    }
    claims
}

/// Somebody of a source whose people are in the directory, with what the directory says of them; none when it does not know
/// them, or not any more.
pub(super) async fn admitted(
    federation: &Federation,
    source: &IdentityProvider,
    mut assertion: IdentityAssertion,
) -> Result<Option<IdentityAssertion>, Error> {
    // Nothing of the source's own goes by the directory's names.
    let own = |key: &String| key.strip_prefix(DIRECTORY_ISSUER).is_some_and(|rest| rest.starts_with(':'));
    assertion.claims.retain(|key, _| !own(key));
    let Some(named) = &source.directory_user else { return Ok(Some(assertion)) };
    let name = match named.as_str() {
        "subject" => Some(&assertion.subject),
        claim => assertion.claims.get(claim).and_then(|values| values.first().filter(|_| values.len() == 1)),
    };
    let Some(Ok(name)) = name.map(|name| UserName::parse(name)) else { return Ok(None) };
    let tx = federation.store.read();
    let Some(id) = tx.user_named(&name).await? else { return Ok(None) };
    // People who were made here are for the day the provider fails: nobody becomes them by its word.
    let usable = |user: &User| user.provisioned && !user.disabled;
    let Some(user) = tx.user_by_id(&id).await?.filter(usable) else { return Ok(None) };
    assertion.claims.extend(claims(&user));
    Ok(Some(assertion))
}

/// The assertion that a person of the directory signs in with.
pub(super) fn assertion(federation: &Federation, source: &IdentityProvider, user: &User) -> IdentityAssertion {
    let audience = federation.addresses.public_url.as_str().trim_end_matches('/').to_owned();
    let mut claims = claims(user);
    claims.insert(format!("{DIRECTORY_ISSUER}:aud"), vec![audience.clone()]);
    IdentityAssertion {
        provider: ProviderRef {
            owner: source.owner.clone(),
            name: source.name.to_string(),
            resource: source.resource(),
            protocol: FederationProtocol::WebIdentity,
        },
        issuer: DIRECTORY_ISSUER.to_owned(),
        subject: user.id.clone(),
        subject_type: None,
        audience,
        claims,
        name: Some(user.display_name.clone()),
        email: Some(user.email.clone()).filter(|email| !email.is_empty()),
        authenticated: federation.clock.now(),
        asserted_authentication: Some(federation.clock.now()),
        methods: vec!["pwd".to_owned()],
        not_after: None,
        role_session_name: None,
        session_seconds: None,
        source_identity: None,
        tags: SessionTags::default(),
        roles: Vec::new(),
    }
}
