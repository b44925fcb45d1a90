//! Who signed: SigV4 with a session token that carries everything, or with a long-term key of the snapshot, without a look at
//! the store; and whose bearer token or DPoP proof it is, which is in the store.

use super::Broker;
use super::{Gateway, unknown_key};
use crate::store::EphemeralKind;
use crate::{
    credentials::{self, Opened},
    crypto::{
        dpop::{self, DpopProof},
        same,
        sigv4::{Authorization, CertifiedRequest, HttpRequest, SigningKey},
        x509,
    },
    domain::{
        Error, ErrorKind, Timestamp,
        session::{Caller, DpopKey, Principal, RequestOrigin},
        user::UserSession,
    },
};
use hashbrown::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The service whose callers may show a key.
const SIGN_IN: &str = "signin";
/// DPoP proofs that were shown.
const SHOWN: EphemeralKind = EphemeralKind::lasting("dpop-proof");

impl Broker {
    /// Uses a DPoP proof up: each is good once (RFC 9449 section 11.1). Not before what it came for was found: strangers, who
    /// make as many proofs as they like, have nothing kept for them.
    ///
    /// # Errors
    /// `InvalidInput` when it was shown before, `Unavailable`.
    pub async fn use_up(&self, key: &DpopKey, now: Timestamp) -> Result<(), Error> {
        let name = format!("{} {}", key.thumbprint, key.proof);
        let until = now.plus_seconds(2 * dpop::MAX_SKEW_SECONDS + 1);
        match self.store.ephemeral().put_new(SHOWN, &name, &(), until).await? {
            true => Ok(()),
            false => Err(Error::invalid("The DPoP proof is not valid: it was shown before")),
        }
    }
}

impl Gateway {
    /// The broker itself, or whoever runs a command on its machine.
    #[must_use]
    pub fn operator(&self) -> Caller {
        let origin = RequestOrigin {
            request_id: self.broker.random.uuid(),
            source_ip: std::net::IpAddr::from([127, 0, 0, 1]),
            user_agent: format!("daypass/{}", env!("CARGO_PKG_VERSION")),
            secure: true,
            time: self.broker.clock.now(),
        };
        Caller { principal: Principal::Operator, origin: Arc::new(origin) }
    }

    /// The principal of a request: its bearer, its signer, or nobody. A bad signature is refused even where nobody is asked.
    ///
    /// # Errors
    /// `IncompleteSignature`, `UnknownKey`, `BadSignature`, `ExpiredCredentials`, `InvalidBearer`; `InvalidInput` for a DPoP
    /// proof; `Unavailable`.
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
            None => match request.header("dpop") {
                Some(proof) if service == SIGN_IN => self.key_of(proof, request, now),
                _ => Ok(Principal::Anonymous),
            },
            Some(authorization) => self.verify(&authorization, request, service, now),
        }
    }

    /// The key that a DPoP proof shows.
    fn key_of(&self, proof: &str, request: HttpRequest<'_>, now: Timestamp) -> Result<Principal, Error> {
        if request.headers.iter().filter(|(name, _)| *name == "dpop").count() > 1 {
            return Err(Error::invalid("The DPoP proof is not valid: there is more than one"));
        }
        let address = self.broker.federation.addresses.at(request.path);
        let proof = DpopProof::verify(proof, request.method, &address, now)?;
        Ok(Principal::DpopKey(Arc::new(DpopKey { thumbprint: proof.thumbprint, proof: proof.id })))
    }

    fn verify(
        &self,
        authorization: &Authorization<'_>,
        request: HttpRequest<'_>,
        service: &str,
        now: Timestamp,
    ) -> Result<Principal, Error> {
        let snapshot = self.broker.store.snapshot();
        let Some(token) = authorization.session_token.as_deref() else {
            // A long-term key: an inactive one is like one that does not exist.
            let (key, signer) = snapshot.access_keys.get(authorization.access_key_id()).ok_or_else(unknown_key)?;
            if !key.active {
                return Err(unknown_key());
            }
            authorization.verify(request, key.secret.expose(), service, now)?;
            self.broker.store.note_use(&key.id, now, authorization.service(), authorization.region());
            return Ok(Principal::User(signer.clone()));
        };
        let known = match self.broker.known_sessions.find(token) {
            Some(known) if authorization.is_for(&known.signing) => {
                metrics::counter!("daypass_known_sessions_total", "result" => "hit").increment(1);
                known
            }
            _ => {
                metrics::counter!("daypass_known_sessions_total", "result" => "miss").increment(1);
                let opened = credentials::open(self.broker.store.ring(), token).ok_or_else(unknown_key)?;
                Arc::new(KnownSession::new(opened, authorization))
            }
        };
        if !same(known.access_key_id(), authorization.access_key_id()) {
            return Err(unknown_key());
        }
        authorization.verify_with(request, &known.signing, service, now)?;
        if known.expires() <= now {
            return Err(Error::new(ErrorKind::ExpiredCredentials, "The security token included in the request is expired"));
        }
        // Credentials end with their role or user: one made anew under the same name has another id.
        let principal = match &known.principal {
            Principal::Session(session) => {
                let role = snapshot.role_by_id(&session.role_id).filter(|role| role.role.account == session.account);
                role.map(|_| known.principal.clone())
            }
            Principal::User(user) => match &user.user_id {
                None => snapshot.accounts.contains_key(&user.account).then(|| known.principal.clone()),
                Some(id) => snapshot.user_by_id(id).filter(|known| known.user.account == user.account).map(|owner| {
                    let arn = owner.user.arn();
                    // The user may have been renamed since: what policies see is what it is called now.
                    if arn == user.user {
                        known.principal.clone()
                    } else {
                        Principal::User(Arc::new(UserSession { user: arn, ..(**user).clone() }))
                    }
                }),
            },
            Principal::Anonymous
            | Principal::Certificate(_)
            | Principal::DpopKey(_)
            | Principal::Person(_)
            | Principal::Provisioner(_)
            | Principal::Operator => None,
        };
        let principal = principal.ok_or_else(unknown_key)?;
        self.broker.known_sessions.keep(token, &known);
        Ok(principal)
    }
}

/// A session whose token was opened, and its signing key. A session signs many calls of one day to one service.
#[derive(Debug)]
struct KnownSession {
    principal: Principal,
    signing: SigningKey,
}

impl KnownSession {
    fn new(opened: Opened, authorization: &Authorization<'_>) -> Self {
        match opened {
            Opened::Role(session) => Self {
                signing: authorization.signing_key(session.secret_access_key.expose()),
                principal: Principal::Session(Arc::new(session)),
            },
            Opened::User(user) => Self {
                signing: authorization.signing_key(user.secret_access_key.expose()),
                principal: Principal::User(Arc::new(user)),
            },
        }
    }

    fn access_key_id(&self) -> &str {
        match &self.principal {
            Principal::Session(session) => &session.access_key_id,
            Principal::User(user) => &user.access_key_id,
            Principal::Anonymous
            | Principal::Certificate(_)
            | Principal::DpopKey(_)
            | Principal::Person(_)
            | Principal::Provisioner(_)
            | Principal::Operator => "",
        }
    }

    fn expires(&self) -> Timestamp {
        self.principal.expires().unwrap_or_default()
    }
}

/// Sessions that signed a call lately, by their whole token: only what was found genuine gets in, and everything but the
/// opening is checked with each call.
#[derive(Default)]
pub struct KnownSessions(Mutex<HashMap<String, Arc<KnownSession>>>);

impl std::fmt::Debug for KnownSessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KnownSessions")
    }
}

impl KnownSessions {
    /// So many are kept; then all are forgotten, and opened again when they call.
    const ROOM: usize = 4096;

    fn find(&self, token: &str) -> Option<Arc<KnownSession>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    fn keep(&self, token: &str, session: &Arc<KnownSession>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.get(token).is_some_and(|same| Arc::ptr_eq(same, session)) {
            return;
        }
        if kept.len() >= Self::ROOM {
            kept.clear();
        }
        kept.insert(token.to_owned(), session.clone());
    }
}
