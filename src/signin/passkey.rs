//! Passkeys (Web Authentication level 3): `webauthn-rs` does the ceremonies; user verification is always required.

use crate::{
    crypto::sha256,
    domain::{Error, ErrorKind, Secret, factor::FactorKind, iam::Authenticator},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use url::Url;
use webauthn_rs::prelude::{
    AttestationCaList, AttestationCaListBuilder, AttestedPasskeyRegistration, DiscoverableAuthentication, Passkey,
    PasskeyAuthentication, PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential, Uuid, Webauthn,
    WebauthnBuilder, WebauthnError,
};

/// The ceremonies, for one origin.
#[derive(Clone, Debug)]
pub struct Passkeys(Webauthn);

/// A ceremony that waits for the authenticator. Kept on our side alone.
#[derive(Debug, Serialize, Deserialize)]
pub enum Ceremony {
    /// A passkey is being made.
    Registration(Box<PasskeyRegistration>),
    /// A passkey is being made, and its maker has to vouch for it.
    AttestedRegistration(Box<AttestedPasskeyRegistration>),
    /// One of a person's passkeys is asked for.
    Authentication(Box<PasskeyAuthentication>),
    /// Any passkey is asked for, and says whose it is.
    Discovery(Box<DiscoverableAuthentication>),
}

/// What the browser is asked, as JSON for `PublicKeyCredential.parse…OptionsFromJSON`, and what the answer is checked against.
#[derive(Debug)]
pub struct Challenge {
    /// For the browser.
    pub options: String,
    /// For us.
    pub ceremony: Ceremony,
}

fn refused(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidAuthenticationCode, "The passkey could not be accepted. Please try again.").with_private(why)
}

fn options(challenge: &impl Serialize, change: impl FnOnce(&mut serde_json::Value)) -> Result<String, Error> {
    let mut value = serde_json::to_value(challenge).map_err(Error::internal)?;
    let mut options = value.get_mut("publicKey").map(serde_json::Value::take).unwrap_or_default();
    change(&mut options);
    Ok(options.to_string())
}

fn credential<T: serde::de::DeserializeOwned>(text: &Secret<String>) -> Result<T, Error> {
    serde_json::from_str(text.expose()).map_err(|error| refused(format!("passkey_malformed: {error}")))
}

fn read(state: &Secret<String>) -> Result<Passkey, Error> {
    serde_json::from_str(state.expose()).map_err(Error::internal)
}

fn kept(passkey: &Passkey) -> Result<FactorKind, Error> {
    let state = serde_json::to_string(passkey).map_err(Error::internal)?;
    Ok(FactorKind::Passkey { credential_id: URL_SAFE_NO_PAD.encode(passkey.cred_id()), state: Secret::new(state) })
}

/// The handle authenticators keep for a person: it says nothing about them, and is the same each time.
fn handle(person: &str) -> Uuid {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(sha256(format!("passkey user handle {person}"))).for_each(|(to, from)| *to = from);
    Uuid::from_bytes(bytes)
}

/// The models that are allowed, as the library wants them.
///
/// # Errors
/// `InvalidInput`: no AAGUID, or no certificate.
pub fn models(allowed: &[Authenticator]) -> Result<AttestationCaList, Error> {
    let mut list = AttestationCaListBuilder::new();
    for model in allowed {
        let aaguid = Uuid::parse_str(&model.aaguid)
            .map_err(|_| Error::invalid(format!("{}: {:?} is no AAGUID", model.name, model.aaguid)))?;
        list.insert_device_pem(model.certificate.as_bytes(), aaguid, model.name.clone(), Default::default())
            .map_err(|error| Error::invalid(format!("{}: its certificate can't be read: {error:?}", model.name)))?;
    }
    Ok(list.build())
}

impl Passkeys {
    /// For the origin people see. None where passkeys can't be: an address without a host name.
    #[must_use]
    pub fn at(public_url: &Url) -> Option<Self> {
        let host = public_url.domain()?;
        let builder = WebauthnBuilder::new(host, public_url).ok()?;
        builder.rp_name("Daypass").build().ok().map(Self)
    }

    /// Asks for a new passkey, of one of these models where there are any; those the person has are not made again.
    ///
    /// # Errors
    /// `Internal`.
    pub fn register(
        &self,
        person: &str,
        name: &str,
        display: &str,
        present: &[&Secret<String>],
        allowed: &[Authenticator],
    ) -> Result<Challenge, Error> {
        let present: Result<Vec<_>, Error> = present.iter().map(|state| read(state).map(|key| key.cred_id().clone())).collect();
        let (handle, present) = (handle(person), Some(present?));
        let (challenge, ceremony) = if allowed.is_empty() {
            let begun = self.0.start_passkey_registration(handle, name, display, present);
            begun.map(|(challenge, state)| (challenge, Ceremony::Registration(Box::new(state))))
        } else {
            let begun = self.0.start_attested_passkey_registration(handle, name, display, present, models(allowed)?, None);
            begun.map(|(challenge, state)| (challenge, Ceremony::AttestedRegistration(Box::new(state))))
        }
        .map_err(Error::internal)?;
        let options = options(&challenge, |options| {
            // So that it can sign in without a name, where the authenticator has room for that.
            if let Some(selection) = options.get_mut("authenticatorSelection").and_then(serde_json::Value::as_object_mut) {
                selection.insert("residentKey".to_owned(), "preferred".into());
            }
            // Wished for, not insisted on: many a good authenticator has no such policy, and we ask for its owner each time.
            if let Some(extensions) = options.get_mut("extensions").and_then(serde_json::Value::as_object_mut) {
                extensions.remove("enforceCredentialProtectionPolicy");
            }
        })?;
        Ok(Challenge { options, ceremony })
    }

    /// Checks a new passkey. `attested`: its maker has to vouch for it, however the ceremony began.
    ///
    /// # Errors
    /// `InvalidAuthenticationCode`.
    pub fn registered(&self, ceremony: &Ceremony, answer: &Secret<String>, attested: bool) -> Result<FactorKind, Error> {
        let answer: RegisterPublicKeyCredential = credential(answer)?;
        match ceremony {
            Ceremony::Registration(state) if !attested => {
                kept(&self.0.finish_passkey_registration(&answer, state).map_err(refusal)?)
            }
            Ceremony::AttestedRegistration(state) => {
                let made = self.0.finish_attested_passkey_registration(&answer, state).map_err(|error| match &error {
                    WebauthnError::MismatchedChallenge | WebauthnError::InvalidRPOrigin | WebauthnError::UserNotVerified => {
                        refusal(error)
                    }
                    _ => Error {
                        public: "This authenticator is not one of those that your organization allows.".to_owned(),
                        ..refusal(error)
                    },
                })?;
                kept(&made.into())
            }
            Ceremony::Registration(_) | Ceremony::Authentication(_) | Ceremony::Discovery(_) => {
                Err(refused("passkey_other_ceremony"))
            }
        }
    }

    /// Asks for one of these passkeys.
    ///
    /// # Errors
    /// `Internal`.
    pub fn ask(&self, present: &[&Secret<String>]) -> Result<Challenge, Error> {
        let present: Result<Vec<Passkey>, Error> = present.iter().map(|state| read(state)).collect();
        let (challenge, state) = self.0.start_passkey_authentication(&present?).map_err(Error::internal)?;
        Ok(Challenge { options: options(&challenge, |_| {})?, ceremony: Ceremony::Authentication(Box::new(state)) })
    }

    /// Asks for any passkey.
    ///
    /// # Errors
    /// `Internal`.
    pub fn discover(&self) -> Result<Challenge, Error> {
        let (challenge, state) = self.0.start_discoverable_authentication().map_err(Error::internal)?;
        Ok(Challenge { options: options(&challenge, |_| {})?, ceremony: Ceremony::Discovery(Box::new(state)) })
    }

    /// The id (base64url) of the credential an answer says it is of. Nothing is verified by that.
    ///
    /// # Errors
    /// `InvalidAuthenticationCode`.
    pub fn credential_id(answer: &Secret<String>) -> Result<String, Error> {
        let answer: PublicKeyCredential = credential(answer)?;
        Ok(URL_SAFE_NO_PAD.encode(answer.get_credential_id()))
    }

    /// Checks an answer against the passkey it says it is of. Returns the passkey as it is to be kept from now on (counter,
    /// backup state).
    ///
    /// # Errors
    /// `InvalidAuthenticationCode`: forged, replayed, for another origin, not unlocked by its owner, or a copied key.
    pub fn verify(
        &self,
        ceremony: Ceremony,
        answer: &Secret<String>,
        person: &str,
        state: &Secret<String>,
    ) -> Result<FactorKind, Error> {
        let mut passkey = read(state)?;
        let answer: PublicKeyCredential = credential(answer)?;
        let result = match ceremony {
            Ceremony::Authentication(asked) => self.0.finish_passkey_authentication(&answer, &asked).map_err(refusal)?,
            Ceremony::Discovery(asked) => {
                let (whose, _) = self.0.identify_discoverable_authentication(&answer).map_err(refusal)?;
                if whose != handle(person) {
                    return Err(refused("passkey_other_person: the authenticator names somebody else"));
                }
                self.0.finish_discoverable_authentication_v2(&answer, *asked, &passkey).map_err(refusal)?
            }
            Ceremony::Registration(_) | Ceremony::AttestedRegistration(_) => return Err(refused("passkey_other_ceremony")),
        };
        if result.cred_id() != passkey.cred_id() || !result.user_verified() {
            return Err(refused("passkey_unverified: another credential, or its owner was not verified"));
        }
        passkey.update_credential(&result);
        kept(&passkey)
    }
}

fn refusal(error: WebauthnError) -> Error {
    refused(format!("passkey_refused: {error}"))
}
