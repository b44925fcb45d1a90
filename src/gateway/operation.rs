//! One operation: a small declarative unit. Nothing here has a default, so nothing can be forgotten.

use super::{Broker, Scope, factor::OneTimeCode, fault::Fault};
use crate::{
    domain::{
        Arn, Error, Secret,
        directory::TokenScope,
        name::{AccountId, RoleSessionName},
        session::Caller,
    },
    policy::{Permit, evaluate::Check},
    store::{AuditRecord, ReadTx, RecordTx, State, Store, WriteTx},
};
use serde::{Serialize, de::DeserializeOwned};
use std::future::Future;

/// One operation. The request value *is* the operation. Serialized, it is what the audit log keeps of the request: secrets are
/// `Secret`, which says that it hides them.
pub trait Operation: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Protocol and error table.
    type Service: Service;
    /// Which transaction `run` receives: [`Read`], [`Issue`] or [`Write`].
    type Mode: Mode;
    /// The answer.
    type Output: Serialize + Send + Sync + 'static;
    /// As in the published model.
    const NAME: &'static str;
    /// Who may call this, and on what. Pure: it looks at the request and the snapshot, never at the store.
    ///
    /// # Errors
    /// `InvalidInput` where the request is too malformed to ask the question.
    fn access(&self, scope: &Scope) -> Result<Access, Error>;
    /// Does it. The transaction commits when this returns `Ok`.
    fn run(self, call: &mut Call<'_, Self>) -> impl Future<Output = Result<Self::Output, Error>> + Send;
}

/// A service: how its operations are named, signed and refused.
pub trait Service: Send + Sync + 'static {
    /// As in audit records, for example `sts.amazonaws.com`.
    const EVENT_SOURCE: &'static str;
    /// Service of the credential scope, for example `sts`.
    const SIGNING_NAME: &'static str;
    /// How it talks.
    const PROTOCOL: Protocol;
    /// Maps an error to what its clients understand.
    fn fault(error: &Error) -> Fault;
}

/// The wire formats: three of AWS, and SCIM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// awsQuery: form in, XML out.
    Query {
        /// The API version in `Version`.
        version: &'static str,
    },
    /// awsJson1.1: `X-Amz-Target`.
    Json {
        /// What stands before the dot.
        target: &'static str,
    },
    /// restJson1: method and path.
    Rest,
    /// SCIM: method and path.
    Scim,
}

/// Who may call, and on what. Every variant is a sentence somebody had to write.
#[derive(Debug)]
pub enum Access {
    /// A SigV4 principal, all policy layers.
    Signed(Vec<Check>),
    /// The same, after a second factor of the caller was checked and used up.
    WithFactor(Box<Access>, OneTimeCode),
    /// A role to be taken on a provider's word: verified, then its trust policy.
    Trusted(Box<TrustedAccess>),
    /// A person's bearer token or browser session, for their own scope only.
    Person {
        /// Why no policy is asked.
        because: &'static str,
    },
    /// Whoever signed.
    Caller {
        /// Why no policy is asked.
        because: &'static str,
    },
    /// A SCIM client's token, within its scope.
    Provisioner {
        /// What the token has to be good for.
        needs: TokenScope,
        /// Why no policy is asked.
        because: &'static str,
    },
    /// Whoever holds the data folder and the master key.
    Operator {
        /// Why no policy is asked.
        because: &'static str,
    },
    /// Anybody.
    Public {
        /// Why nobody is asked.
        because: &'static str,
    },
}

impl Access {
    /// Asks for the factor first, where one is given.
    #[must_use]
    pub fn with_factor(self, given: Option<OneTimeCode>) -> Self {
        match given {
            Some(given) => Self::WithFactor(Box::new(self), given),
            None => self,
        }
    }
}

/// What [`Access::Trusted`] is about.
#[derive(Debug)]
pub struct TrustedAccess {
    /// The role.
    pub role: Arn,
    /// The provider's word.
    pub proof: Proof,
    /// `RoleSessionName`, where the caller chooses it.
    pub session_name: Option<RoleSessionName>,
}

/// A provider's word.
#[derive(Debug)]
pub enum Proof {
    /// A SAML response, decoded from base64, and the ARN of the provider it is from.
    Saml {
        /// `PrincipalArn`.
        provider: Arn,
        /// XML.
        response: Vec<u8>,
    },
    /// An ID token.
    WebIdentity(Secret<String>),
    /// The certificate whose key signed the request.
    Certificate(CertifiedAccess),
    /// The caller's own portal session.
    Person,
}

/// Whom a certificate is shown to, and for what.
#[derive(Clone, Debug)]
pub struct CertifiedAccess {
    /// The authority that should vouch for it.
    pub trust_anchor: Arn,
    /// The bounds of the session.
    pub profile: Arn,
}

/// What `run` works with.
pub struct Call<'c, O: Operation> {
    /// The transaction.
    pub tx: <O::Mode as Mode>::Tx<'c>,
    /// The yes.
    pub permit: &'c Permit,
    /// As it was when the question was asked.
    pub scope: &'c Scope,
    /// Who asks.
    pub caller: &'c Caller,
    /// Keys, clocks, federation.
    pub broker: &'c Broker,
}

impl<O: Operation> Call<'_, O> {
    /// The caller's account.
    ///
    /// # Errors
    /// `MissingCredentials`.
    pub fn account(&self) -> Result<&AccountId, Error> {
        self.scope.account()
    }
}

/// Which transaction an operation gets.
pub trait Mode: Send + Sync + 'static {
    /// The transaction.
    type Tx<'s>: Send;
    /// Whether it leaves anything behind, and so runs on a task of its own that a client can't cut off.
    const OWN_TASK: bool;
    /// Opens it against a permit that was decided on a state of the store; none where that is not the state any more, and it
    /// matters: then it is decided again.
    fn begin<'s>(
        store: &'s Store,
        permit: &Permit,
        decided_on: State,
        record: impl FnOnce() -> AuditRecord + Send,
    ) -> impl Future<Output = Result<Option<Self::Tx<'s>>, Error>> + Send;
    /// Closes it with the outcome.
    fn finish<'s>(tx: Self::Tx<'s>, outcome: Result<(), &Error>) -> impl Future<Output = Result<(), Error>> + Send
    where
        's: 's;
}

/// Looks and changes nothing.
#[derive(Debug)]
pub struct Read;
/// Changes no entity, but does something that must be on record: issues a credential, signs somebody in. It may take its
/// time (a provider's answer, a password) and holds no lock meanwhile.
#[derive(Debug)]
pub struct Issue;
/// Changes entities, in one transaction with its audit record.
#[derive(Debug)]
pub struct Write;

impl Mode for Read {
    type Tx<'s> = ReadTx<'s>;
    const OWN_TASK: bool = false;
    async fn begin<'s>(
        store: &'s Store,
        _permit: &Permit,
        _decided_on: State,
        _record: impl FnOnce() -> AuditRecord + Send,
    ) -> Result<Option<ReadTx<'s>>, Error> {
        Ok(Some(store.read()))
    }
    async fn finish<'s>(_tx: ReadTx<'s>, _outcome: Result<(), &Error>) -> Result<(), Error>
    where
        's: 's, // makes the lifetime early-bound, as the trait's projection has it
    {
        Ok(())
    }
}

impl Mode for Issue {
    type Tx<'s> = RecordTx<'s>;
    const OWN_TASK: bool = true;
    async fn begin<'s>(
        store: &'s Store,
        permit: &Permit,
        _decided_on: State,
        record: impl FnOnce() -> AuditRecord + Send,
    ) -> Result<Option<RecordTx<'s>>, Error> {
        Ok(Some(store.begin_record(permit, record())))
    }
    async fn finish<'s>(tx: RecordTx<'s>, outcome: Result<(), &Error>) -> Result<(), Error>
    where
        's: 's,
    {
        tx.finish(outcome).await
    }
}

impl Mode for Write {
    type Tx<'s> = WriteTx<'s>;
    const OWN_TASK: bool = true;
    async fn begin<'s>(
        store: &'s Store,
        permit: &Permit,
        decided_on: State,
        record: impl FnOnce() -> AuditRecord + Send,
    ) -> Result<Option<WriteTx<'s>>, Error> {
        store.begin(permit, decided_on, record()).await
    }
    async fn finish<'s>(tx: WriteTx<'s>, outcome: Result<(), &Error>) -> Result<(), Error>
    where
        's: 's,
    {
        tx.finish(outcome).await
    }
}
