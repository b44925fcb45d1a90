//! A broker in process: a clock that stands still, seeded randomness, a store of its own.

use crate::stores::{Postgres, Service, redis_location};
use daypass::{
    api::apply::{ApplyOrganization, OrganizationFile, Plan, PlanOrganization},
    cli::apply::parse,
    credentials::{SessionRequest, issue},
    domain::{
        Arn, Clock, Error, Random, Secret, Timestamp,
        name::{AccountId, RoleSessionName},
        session::{
            Caller, FederationProtocol, IdentityAssertion, PortalSession, Principal, ProviderRef, RequestOrigin, SessionTags,
        },
        user::{AccessKey, UserSession},
    },
    federation::{Addresses, Federation, Surroundings},
    gateway::{Broker, Gateway, Operation, SessionLimits},
    policy::{
        Decision,
        evaluate::{Guardrails, authorize_federated},
    },
    store::{Location, Store, SystemLocation},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};
use tempfile::TempDir;

/// 2026-11-24T12:00:00Z
pub const NOON: i64 = 1_795_521_600_000;
pub const MANAGEMENT: &str = "111122223333";

pub struct FrozenClock(AtomicI64);
impl Clock for FrozenClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}
impl FrozenClock {
    pub fn at(time: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(time)))
    }
    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

/// xorshift: the same numbers in every run.
pub struct SeededRandom(AtomicU64);
impl SeededRandom {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(seed)))
    }
}
impl Random for SeededRandom {
    fn fill(&self, buffer: &mut [u8]) {
        for byte in buffer {
            let next = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |mut x| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                Some(x)
            });
            *byte = (next.unwrap() >> 24) as u8;
        }
    }
}

pub struct World {
    pub gateway: Gateway,
    pub clock: Arc<FrozenClock>,
    pub folder: TempDir,
    pub place: Place,
}

/// Where the store of a test is.
pub struct Place {
    pub location: Location,
    /// Servers that end with the test.
    pub servers: Vec<Service>,
}

impl Place {
    /// A folder; or PostgreSQL, when the whole suite is run on it (`DAYPASS_TEST_STORE=postgres`).
    #[allow(clippy::disallowed_methods, reason = "the whole suite is run on another store by the environment")]
    async fn of(folder: &TempDir) -> Self {
        match std::env::var("DAYPASS_TEST_STORE").as_deref() {
            Ok("postgres") => Self::postgres().await,
            _ => Self { location: Location::folder(folder.path()), servers: Vec::new() },
        }
    }

    pub async fn postgres() -> Self {
        let postgres = Postgres::new().await;
        Self { location: postgres.location(), servers: postgres.server.into_iter().collect() }
    }

    /// Changes the tables behind the store's back. Statements that answer give their first column, as text.
    pub async fn sql(&self, statement: &str) -> Vec<String> {
        use sqlx::{Connection as _, PgConnection, Row as _, SqliteConnection};
        let safe = sqlx::AssertSqlSafe(statement.to_owned());
        match &self.location.system {
            SystemLocation::Folder(folder) => {
                let file = format!("sqlite://{}", folder.join("daypass.sqlite").display());
                let mut connection = SqliteConnection::connect(&file).await.unwrap();
                let rows = sqlx::query(safe).fetch_all(&mut connection).await.unwrap();
                connection.close().await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
            SystemLocation::Postgres(postgres) => {
                let mut connection = PgConnection::connect(postgres.url.expose()).await.unwrap();
                let rows = sqlx::query(safe).fetch_all(&mut connection).await.unwrap();
                connection.close().await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
        }
    }

    pub async fn postgres_and_redis() -> Self {
        let mut place = Self::postgres().await;
        let redis = Service::start("redis.sh", &[]);
        place.location.redis = Some(redis_location(&redis));
        place.servers.push(redis);
        place
    }
}

pub const DEMO: &str = include_str!("../../config/demo.toml");

impl World {
    /// An empty broker.
    pub async fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::of(&folder).await;
        Self::empty_in(folder, place).await
    }

    /// An empty broker with its store in a place.
    pub async fn at(place: Place) -> Self {
        Self::empty_in(tempfile::tempdir().unwrap(), place).await
    }

    async fn empty_in(folder: TempDir, place: Place) -> Self {
        let (clock, random) = (FrozenClock::at(NOON), SeededRandom::new(7));
        let gateway = open(&place.location, clock.clone(), random).await.unwrap();
        Self { gateway, clock, folder, place }
    }

    /// The demo organization, without passwords.
    pub async fn demo() -> Self {
        Self::demo_in(Surroundings::default()).await
    }

    pub async fn demo_in(surroundings: Surroundings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::of(&folder).await;
        let (clock, random) = (FrozenClock::at(NOON), SeededRandom::new(7));
        let gateway = open_in(&place.location, clock.clone(), random, surroundings).await.unwrap();
        let world = Self { gateway, clock, folder, place };
        world.apply(parse(DEMO, "toml").unwrap(), false).await.unwrap();
        world
    }

    pub async fn apply(&self, file: OrganizationFile, prune: bool) -> Result<Plan, Error> {
        self.operator().call(ApplyOrganization(PlanOrganization { file, prune, new_passwords: false })).await
    }

    /// Of somebody of the directory, as forms send it back.
    pub async fn version_of(&self, id: &str) -> i64 {
        self.gateway.broker.store.read().user_by_id(id).await.unwrap().map_or(0, |user| user.stamp.version)
    }

    pub fn caller(&self, principal: Principal) -> Persona<'_> {
        let origin = RequestOrigin {
            request_id: "request".to_owned(),
            source_ip: [192, 0, 2, 1].into(),
            user_agent: "suite".to_owned(),
            secure: true,
            time: self.clock.now(),
        };
        Persona { world: self, caller: Caller { principal, origin: Arc::new(origin) } }
    }
    pub fn nobody(&self) -> Persona<'_> {
        self.caller(Principal::Anonymous)
    }
    pub fn operator(&self) -> Persona<'_> {
        self.caller(Principal::Operator)
    }
    /// The root user of an account, with an access key.
    pub fn root(&self, account: &str) -> Persona<'_> {
        let account = AccountId::parse(account).unwrap();
        let key = AccessKey {
            id: "AKIAROOT".to_owned(),
            user_id: None,
            secret: Secret::new("secret".to_owned()),
            active: true,
            created: self.clock.now(),
            account: account.clone(),
        };
        self.caller(Principal::User(Arc::new(UserSession::of_key(&key, Arn::iam(&account, "root")))))
    }
    /// Somebody of the directory with these groups, signed in.
    pub fn person(&self, groups: &[&str]) -> Persona<'_> {
        let session = PortalSession {
            id: "session".to_owned(),
            lent_by: None,
            at_provider: None,
            factor_given: None,
            vouched: None,
            identity: directory_assertion(groups),
            started: self.clock.now(),
            expires: self.clock.now().plus_seconds(3600),
        };
        self.caller(Principal::Person(Arc::new(session)))
    }
    /// A session of a role, as its trust policy grants it to somebody with these groups.
    pub fn session(&self, account: &str, role: &str, groups: &[&str]) -> Persona<'_> {
        let snapshot = self.gateway.snapshot();
        let role = snapshot.role(&AccountId::parse(account).unwrap(), role).expect("a role").clone();
        let assertion = directory_assertion(groups);
        let context = role.trust_context(&assertion, &daypass::policy::Context::default());
        let Decision::Allow(permit) = authorize_federated(&role, assertion, Guardrails::NONE, &context, &[]) else {
            panic!("not trusted")
        };
        let broker = &self.gateway.broker;
        let request = SessionRequest::named(RoleSessionName::parse("jane").unwrap());
        let issued = issue(&permit, request, 3600, broker.store.ring(), &*broker.random, self.clock.now()).unwrap();
        self.caller(Principal::Session(Arc::new(issued.session)))
    }
}

pub async fn open(location: &Location, clock: Arc<FrozenClock>, random: Arc<SeededRandom>) -> Result<Gateway, Error> {
    open_in(location, clock, random, Surroundings::default()).await
}

async fn open_in(
    location: &Location,
    clock: Arc<FrozenClock>,
    random: Arc<SeededRandom>,
    surroundings: Surroundings,
) -> Result<Gateway, Error> {
    let store = Store::open(location, &[7; 32], random.clone(), clock.clone()).await?;
    let addresses = Addresses { public_url: "http://127.0.0.1:8080".parse().unwrap() };
    let federation = Federation::new(addresses, store.clone(), clock.clone(), random.clone(), surroundings)?;
    let limits = SessionLimits {
        portal_seconds: 3600,
        idle_seconds: 1800,
        token_seconds: 3600,
        access_token_seconds: 1800,
        chained_seconds: 3600,
    };
    Ok(Gateway {
        broker: Broker {
            store,
            federation: Arc::new(federation),
            clock,
            random,
            limits,
            known_sessions: Arc::default(),
            known_bearers: Arc::default(),
            device_starts: Arc::default(),
            settings: Arc::default(),
            session_policies: Arc::default(),
        },
    })
}

/// Audit records of one operation.
pub fn events(name: &str) -> daypass::store::AuditFilter {
    daypass::store::AuditFilter { event_name: Some(name.to_owned()), ..Default::default() }
}

/// Someone who calls operations.
pub struct Persona<'w> {
    world: &'w World,
    pub caller: Caller,
}

impl Persona<'_> {
    pub async fn call<O: Operation>(&self, operation: O) -> Result<O::Output, Error> {
        self.world.gateway.call(&self.caller, operation).await
    }
}

pub fn directory_assertion(groups: &[&str]) -> IdentityAssertion {
    let mut claims = BTreeMap::new();
    claims.insert("directory:sub".to_owned(), vec!["u-jane".to_owned()]);
    claims.insert("directory:groups".to_owned(), groups.iter().map(|group| (*group).to_owned()).collect());
    IdentityAssertion {
        provider: ProviderRef {
            owner: daypass::domain::iam::ProviderOwner::Organization,
            name: "people".to_owned(),
            resource: "oidc-provider/directory".to_owned(),
            protocol: FederationProtocol::WebIdentity,
        },
        issuer: "directory".to_owned(),
        subject: "u-jane".to_owned(),
        subject_type: None,
        audience: "http://127.0.0.1:8080".to_owned(),
        claims,
        name: Some("Jane".to_owned()),
        email: Some("jane@example.com".to_owned()),
        methods: Vec::new(),
        asserted_authentication: None,
        authenticated: Timestamp(NOON),
        not_after: None,
        role_session_name: None,
        session_seconds: None,
        source_identity: None,
        tags: SessionTags::default(),
        roles: Vec::new(),
    }
}
