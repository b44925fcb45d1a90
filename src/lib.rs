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

//!
//! # What is kept where
//! The organization, one-time marks and the audit log are in one SQL database: files of the embedded store, or PostgreSQL; [`store`]
//! writes one SQL for both. Browser sessions, steps and codes may be lost and are beside it, or in Redis. Decisions are made on a
//! snapshot in memory that follows the database; a node that can't follow for [`store::STALE_SECONDS`] decides nothing. Brokers hold
//! nothing else: any node serves any request.
//!
//! # Threats, and what stands against them
//! | who | what they try | what stands against it |
//! | --- | --- | --- |
//! | a stranger on the network | forged or replayed assertions and tokens, other people's steps, floods | [`federation`]'s checks on signed bytes alone, one-time marks that fail closed, steps bound to a browser, limits before anything is parsed |
//! | a person who signed in | roles that no trust policy gives, longer sessions, other people's sessions | permits that only [`policy`] makes, bounds that go along a chain, the principal's own account |
//! | whoever controls an identity provider | other sources' people, keys from elsewhere | subjects are keyed by source, keys come from stored metadata, a source removed ends what it vouched for |
//! | whoever reads the database or a backup | secrets, live sessions | sealed under a master key that is elsewhere, hashes for keys of sessions |
//! | whoever writes to the database | policies, records, longer lives | the audit chain and its signatures, expiry within the seal; policies they can change: keep them out |
//! | whoever writes to Redis | sessions, codes | values are sealed with their expiry and key; what was used is marked in the database |
//! | an administrator alone | wider trust | previews, second persons where a policy asks for it, records that can't be removed unseen |
//! | whoever holds the machine | everything | nothing: they are the operator |

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
