//! Daypass, a self-hosted federation identity broker.
//!
//! # Floors
//! A module imports only from floors to its left; `tests/suite/floors.rs` reads every path and says how to mend a breach.
//!
//! ```text
//! domain < policy < crypto < store < federation < credentials < signin < gateway < api < { pages, cli, server, config }
//! ```
//!
//! - `domain`, `policy`, `crypto` have no async, no sockets, no clock and no randomness of their own.
//! - Only `store` knows SQL. Only `federation` opens outbound HTTP for the broker (`cli` talks to a broker).
//! - Only `gateway`, `pages` and `server` know inbound HTTP. Nobody but `config` and `cli` reads a file or the environment.
//!
//! # Invariants
//! 1. **An operation is a value.** Wire, page, CLI and test all say `gateway.call(&caller, CreateRole { … })`.
//! 2. **No permit, no pen.** A transaction or a credential is handed out only against a [`policy::Permit`].
//! 3. **Steps return to the dispatcher** ([`signin`]): no sign-in step knows the next one.
//! 4. **What is acknowledged is on disk**, with its audit record in the same transaction. An operation says which pen it gets
//!    ([`gateway::operation::Mode`]): `Read` none, `Issue` a record (credentials, sign-ins: they may take their time and hold no
//!    lock), `Write` a transaction over the entities, decided again when another change came first.
//!
//! # Three walks through the house
//! **SAML to console.** `GET /sign-in/corp` ([`pages`]) calls `BeginSignIn`: [`federation`] makes the request, [`store`] keeps
//! the step. The provider posts to `/saml/acs`; the bytes wait under a one-time handle while the browser comes back with its
//! cookie. `CompleteSignIn` has [`crypto::xmldsig`] reduce the document to the bytes that were signed (two verifiers must agree, one
//! of them in a [`crypto::cage`]), the store burns the assertion, [`federation::saml`] checks the profile and makes an `IdentityAssertion`, [`signin`] decides what follows: a portal session. The portal asks
//! each role's trust policy; "Open the console" issues a role session against the permit and opens the admin pages as that role.
//!
//! **`aws sso login`.** `POST /client/register`, `POST /device_authorization`, `POST /token` are `RegisterClient`,
//! `StartDeviceAuthorization`, `CreateToken` ([`api::sso_oidc`]); the person approves on `/device`. The access token opens
//! `ListAccounts`, `ListAccountRoles` and `GetRoleCredentials` ([`api::sso`]), the last one through the role's trust policy.
//! `aws login` is shorter: `/v1/authorize` lends one role, and `POST /v1/token` is `CreateOAuth2Token` ([`api::signin`]), for
//! whoever shows the key ([`crypto::dpop`]) that began it.
//!
//! **CreateRole from a page.** [`pages`] builds the same `CreateRole` value that the query codec builds, with the console's
//! role session as caller. [`gateway`] asks the engine for `iam:CreateRole` on the role's ARN, opens a transaction against
//! the permit, runs the operation, and commits it together with its audit record; then the snapshot is swapped.

pub mod api;
pub mod cli;
pub mod config;
pub mod credentials;
pub mod crypto;
pub mod domain;
pub mod federation;
pub mod gateway;
pub mod pages;
pub mod policy;
pub mod server;
pub mod signin;
pub mod store;
