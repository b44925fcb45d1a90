//! Who signed: SigV4 with a session token that carries everything, so that no store is touched.

use super::{Gateway, unknown_key};
use crate::{
    credentials,
    crypto::{
        same,
        sigv4::{Authorization, HttpRequest},
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
        let token = authorization.session_token.as_deref().ok_or_else(unknown_key)?;
        let session = credentials::open(self.broker.store.ring(), token).ok_or_else(unknown_key)?;
        if !same(&session.access_key_id, &authorization.access_key_id) {
            return Err(unknown_key());
        }
        authorization.verify(request, session.secret_access_key.expose(), service, now)?;
        if session.expires <= now {
            return Err(Error::new(ErrorKind::ExpiredCredentials, "The security token included in the request is expired"));
        }
        // A role made anew under the same name has another id: old sessions end with their role.
        let snapshot = self.broker.store.snapshot();
        match snapshot.role_by_id(&session.role_id) {
            Some(role) if role.role.account == session.account => Ok(Principal::Session(Arc::new(session))),
            _ => Err(unknown_key()),
        }
    }
}
