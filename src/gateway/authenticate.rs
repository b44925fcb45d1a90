//! Who signed: SigV4 with a session token that carries everything, or with a long-term key of the snapshot: no store is
//! touched.

use super::{Gateway, unknown_key};
use crate::{
    credentials::{self, Opened},
    crypto::{
        same,
        sigv4::{Authorization, CertifiedRequest, HttpRequest},
        x509,
    },
    domain::{Error, ErrorKind, Timestamp, session::Principal},
};
use std::sync::Arc;

impl Gateway {
    /// The principal of a request: its bearer, its signer, or nobody. A bad signature is refused even where nobody is asked.
    ///
    /// # Errors
    /// `IncompleteSignature`, `UnknownKey`, `BadSignature`, `ExpiredCredentials`, `InvalidBearer`.
    pub async fn authenticate(&self, request: HttpRequest<'_>, service: &str, now: Timestamp) -> Result<Principal, Error> {
        if let Some(token) = request.header("x-amz-sso_bearer_token") {
            if request.header("authorization").is_some() {
                return Err(Error::new(
                    ErrorKind::IncompleteSignature,
                    "a request carries a bearer token or a signature, not both",
                ));
            }
            return self.bearer(token).await;
        }
        if let Some(signed) = CertifiedRequest::read(request)? {
            return x509::possession(&signed, request, service, now).map(|held| Principal::Certificate(Arc::new(held)));
        }
        match Authorization::read(request)? {
            None => Ok(Principal::Anonymous),
            Some(authorization) => self.verify(&authorization, request, service, now),
        }
    }

    fn verify(
        &self,
        authorization: &Authorization,
        request: HttpRequest<'_>,
        service: &str,
        now: Timestamp,
    ) -> Result<Principal, Error> {
        let snapshot = self.broker.store.snapshot();
        let Some(token) = authorization.session_token.as_deref() else {
            // A long-term key: an inactive one is like one that does not exist.
            let (key, signer) = snapshot.access_keys.get(&authorization.access_key_id).ok_or_else(unknown_key)?;
            if !key.active {
                return Err(unknown_key());
            }
            authorization.verify(request, key.secret.expose(), service, now)?;
            self.broker.store.note_use(&key.id, now, &authorization.service, &authorization.region);
            return Ok(Principal::User(signer.clone()));
        };
        let check = |id: &str, secret: &str, expires: Timestamp| {
            if !same(id, &authorization.access_key_id) {
                return Err(unknown_key());
            }
            authorization.verify(request, secret, service, now)?;
            if expires <= now {
                return Err(Error::new(ErrorKind::ExpiredCredentials, "The security token included in the request is expired"));
            }
            Ok(())
        };
        match credentials::open(self.broker.store.ring(), token).ok_or_else(unknown_key)? {
            Opened::Role(session) => {
                check(&session.access_key_id, session.secret_access_key.expose(), session.expires)?;
                // A role made anew under the same name has another id: old sessions end with their role.
                let role = snapshot.role_by_id(&session.role_id).filter(|role| role.role.account == session.account);
                role.map(|_| Principal::Session(Arc::new(session))).ok_or_else(unknown_key)
            }
            Opened::User(user) => {
                check(&user.access_key_id, user.secret_access_key.expose(), user.expires.unwrap_or(user.issued))?;
                // Temporary credentials end with their user.
                let known = match &user.user_id {
                    Some(id) => snapshot.user_by_id(id).is_some_and(|known| known.user.account == user.account),
                    None => snapshot.accounts.contains_key(&user.account),
                };
                if known { Ok(Principal::User(Arc::new(user))) } else { Err(unknown_key()) }
            }
        }
    }
}
