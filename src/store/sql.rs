//! One SQL for both databases: statements with `$1`, values of three kinds, rows read by column name.
//!
//! SQLite and PostgreSQL understand the same text here. Truth values are 0 and 1, instants are milliseconds, and where one
//! of them lacks a function, its migrations define it. What differs (locks, the text index) asks [`Database::dialect`].

use super::unavailable;
use crate::domain::{Error, time::Stopwatch, trace};
use sqlx::{
    Column as _, PgConnection, PgPool, Postgres, Row as _, Sqlite, SqliteConnection, SqlitePool, TypeInfo as _, ValueRef as _,
    pool::PoolConnection,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow},
    sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};
use std::{borrow::Cow, fmt, fmt::Write as _, future::Future, path::Path, time::Duration};
use tracing::Instrument as _;

/// How long a statement may take at a database that is reached over a network, in seconds. After it nothing is acknowledged.
const STATEMENT_SECONDS: u64 = 10;
/// How long a caller waits for a connection, in seconds.
const CONNECTION_SECONDS: u64 = 10;
/// A connection that was not used for so long is asked whether it is still there, in seconds.
const IDLE_SECONDS: u64 = 1;

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

/// A pool of connections.
#[derive(Clone)]
pub(super) enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dialect())
    }
}

impl Database {
    /// A file, made where there is none.
    pub(super) async fn file(file: &Path, connections: u32) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(CONNECTION_SECONDS));
        let pool = SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(CONNECTION_SECONDS))
            // A file has no connection that could be gone: asking first would double what a read costs.
            .test_before_acquire(false)
            .connect_with(options);
        pool.await.map(Self::Sqlite).map_err(|error| unavailable(format!("{}: {error}", file.display())))
    }

    /// A server. No connection is made before one is needed.
    pub(super) fn server(options: PgConnectOptions, connections: u32) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(CONNECTION_SECONDS))
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for.as_secs() < IDLE_SECONDS {
                        return Ok(true);
                    }
                    let asked = tokio::time::timeout(Duration::from_secs(2), sqlx::Connection::ping(connection)).await;
                    Ok(asked.is_ok_and(|answer| answer.is_ok()))
                })
            });
        Self::Postgres(pool.connect_lazy_with(options))
    }

    pub(super) const fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Takes a statement that only one of them understands.
    pub(super) fn pick(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self.dialect() {
            Dialect::Sqlite => sqlite,
            Dialect::Postgres => postgres,
        }
    }

    /// A transaction that sees one state from beginning to end.
    pub(super) async fn begin_read(&self) -> Result<Tx, Error> {
        self.begin("BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    /// A transaction that writes. Where it is SQLite, no other one can come between from here on.
    pub(super) async fn begin_write(&self) -> Result<Tx, Error> {
        self.begin("BEGIN IMMEDIATE", "BEGIN").await
    }

    async fn begin(&self, sqlite: &'static str, postgres: &'static str) -> Result<Tx, Error> {
        let (mut tx, begin) = match self {
            Self::Sqlite(pool) => (Tx::Sqlite(Held::new(timed("sqlite", pool.acquire()).await?)), sqlite),
            Self::Postgres(pool) => (Tx::Postgres(Held::new(timed("postgres", pool.acquire()).await?)), postgres),
        };
        tx.say(begin).await?;
        Ok(tx)
    }

    /// How many connections there are, and how many of them do nothing.
    pub(super) fn connections(&self) -> (u32, usize) {
        match self {
            Self::Sqlite(pool) => (pool.size(), pool.num_idle()),
            Self::Postgres(pool) => (pool.size(), pool.num_idle()),
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => drop(tokio::time::timeout(Duration::from_secs(CONNECTION_SECONDS), pool.close()).await),
        }
    }
}

/// A transaction. Dropped before its end, or failed at it, it takes its connection along: nobody knows in which state that is. A full
/// disk ends a transaction of SQLite by itself.
pub(super) enum Tx {
    Sqlite(Held<Sqlite>),
    Postgres(Held<Postgres>),
}

/// A connection that goes back to its pool once its transaction is over.
pub(super) struct Held<D: sqlx::Database> {
    connection: PoolConnection<D>,
    over: bool,
}

impl<D: sqlx::Database> Held<D> {
    const fn new(connection: PoolConnection<D>) -> Self {
        Self { connection, over: false }
    }
}

impl<D: sqlx::Database> Drop for Held<D> {
    fn drop(&mut self) {
        if !self.over {
            self.connection.close_on_drop();
        }
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tx")
    }
}

impl Tx {
    async fn say(&mut self, statement: &'static str) -> Result<(), Error> {
        match self {
            Self::Sqlite(held) => timed("sqlite", sqlx::raw_sql(statement).execute(&mut *held.connection)).await.map(drop),
            Self::Postgres(held) => timed("postgres", sqlx::raw_sql(statement).execute(&mut *held.connection)).await.map(drop),
        }
    }

    async fn end(mut self, statement: &'static str) -> Result<(), Error> {
        self.say(statement).await?;
        match &mut self {
            Self::Sqlite(held) => held.over = true,
            Self::Postgres(held) => held.over = true,
        }
        Ok(())
    }

    /// It may take its time: a whole database is copied.
    pub(super) async fn unhurried(&mut self) -> Result<(), Error> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(_) => {
                self.say("SET LOCAL idle_in_transaction_session_timeout = 0").await?;
                self.say("SET LOCAL statement_timeout = 0").await
            }
        }
    }

    /// Makes it last. After an error nobody knows whether it does: it must not be acknowledged.
    pub(super) async fn commit(self) -> Result<(), Error> {
        self.end("COMMIT").await
    }

    /// Ends it without a change; also one that only read.
    pub(super) async fn rollback(self) -> Result<(), Error> {
        self.end("ROLLBACK").await
    }

    pub(super) const fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }
}

/// Waits for a database, not without end, and counts how long it took.
async fn timed<T>(database: &'static str, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    let watch = Stopwatch::start();
    let span = trace::database(if database == "postgres" { "postgresql" } else { database });
    let outcome = match tokio::time::timeout(Duration::from_secs(STATEMENT_SECONDS), work).instrument(span.clone()).await {
        Ok(outcome) => outcome.map_err(unavailable),
        Err(_) => Err(unavailable("the database does not answer")),
    };
    let word = if outcome.is_ok() { "ok" } else { "failed" };
    if outcome.is_err() {
        trace::failed(&span);
    }
    metrics::histogram!("daypass_store_seconds", "database" => database, "outcome" => word).record(watch.seconds());
    outcome
}

/// A value in a statement.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(Option<String>),
    Integer(Option<i64>),
    Bytes(Option<Vec<u8>>),
}

macro_rules! values {
    ($($from:ty => $variant:ident $as:expr;)*) => { $(
        impl From<$from> for Value {
            fn from(value: $from) -> Self { Self::$variant(Some($as(value))) }
        }
        impl From<Option<$from>> for Value {
            fn from(value: Option<$from>) -> Self { Self::$variant(value.map($as)) }
        }
    )* };
}
values! {
    String => Text std::convert::identity;
    &str => Text str::to_owned;
    &String => Text String::clone;
    std::sync::Arc<str> => Text |text: std::sync::Arc<str>| String::from(&*text);
    i64 => Integer std::convert::identity;
    u32 => Integer i64::from;
    i32 => Integer i64::from;
    bool => Integer i64::from;
    Vec<u8> => Bytes std::convert::identity;
    &[u8] => Bytes <[u8]>::to_vec;
}

/// A statement and its values.
#[derive(Clone, Debug)]
#[must_use]
pub(super) struct Query {
    sql: Cow<'static, str>,
    values: Vec<Value>,
}

/// Begins a statement.
pub(super) fn query(sql: impl Into<Cow<'static, str>>) -> Query {
    Query { sql: sql.into(), values: Vec::new() }
}

impl Query {
    /// The value of the next `$n`.
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Goes on with the statement.
    pub(super) fn push(&mut self, sql: &str) -> &mut Self {
        self.sql.to_mut().push_str(sql);
        self
    }

    /// Goes on with a value.
    pub(super) fn push_bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        let number = self.values.len();
        // Writing to a string does not fail.
        let _ = write!(self.sql.to_mut(), "${number}");
        self
    }

    /// Goes on with values and commas between them.
    pub(super) fn push_list<V: Into<Value>>(&mut self, values: impl IntoIterator<Item = V>) -> &mut Self {
        for (number, value) in values.into_iter().enumerate() {
            if number > 0 {
                self.push(", ");
            }
            self.push_bind(value);
        }
        self
    }

    /// Goes on with `VALUES` and rows.
    pub(super) fn push_rows(&mut self, rows: impl IntoIterator<Item = Vec<Value>>) -> &mut Self {
        for (number, row) in rows.into_iter().enumerate() {
            self.push(if number == 0 { "VALUES (" } else { ", (" });
            self.push_list(row).push(")");
        }
        self
    }

    pub(super) async fn fetch_all<'t>(self, target: impl Into<Target<'t>>) -> Result<Vec<Row>, Error> {
        let some = |rows: Vec<_>| rows.into_iter().map(Row::Sqlite).collect();
        let others = |rows: Vec<_>| rows.into_iter().map(Row::Postgres).collect();
        match target.into() {
            Target::SqlitePool(pool) => timed("sqlite", self.sqlite().fetch_all(pool)).await.map(some),
            Target::Sqlite(one) => timed("sqlite", self.sqlite().fetch_all(one)).await.map(some),
            Target::PostgresPool(pool) => timed("postgres", self.postgres().fetch_all(pool)).await.map(others),
            Target::Postgres(one) => timed("postgres", self.postgres().fetch_all(one)).await.map(others),
        }
    }

    pub(super) async fn fetch_optional<'t>(self, target: impl Into<Target<'t>>) -> Result<Option<Row>, Error> {
        let (some, other) = (|row: Option<_>| row.map(Row::Sqlite), |row: Option<_>| row.map(Row::Postgres));
        match target.into() {
            Target::SqlitePool(pool) => timed("sqlite", self.sqlite().fetch_optional(pool)).await.map(some),
            Target::Sqlite(one) => timed("sqlite", self.sqlite().fetch_optional(one)).await.map(some),
            Target::PostgresPool(pool) => timed("postgres", self.postgres().fetch_optional(pool)).await.map(other),
            Target::Postgres(one) => timed("postgres", self.postgres().fetch_optional(one)).await.map(other),
        }
    }

    pub(super) async fn fetch_one<'t>(self, target: impl Into<Target<'t>>) -> Result<Row, Error> {
        let row = self.fetch_optional(target).await?;
        row.ok_or_else(|| unavailable("a row that is always there is not there"))
    }

    /// Returns how many rows it touched.
    pub(super) async fn execute<'t>(self, target: impl Into<Target<'t>>) -> Result<u64, Error> {
        match target.into() {
            Target::SqlitePool(pool) => timed("sqlite", self.sqlite().execute(pool)).await.map(|done| done.rows_affected()),
            Target::Sqlite(one) => timed("sqlite", self.sqlite().execute(one)).await.map(|done| done.rows_affected()),
            Target::PostgresPool(pool) => timed("postgres", self.postgres().execute(pool)).await.map(|done| done.rows_affected()),
            Target::Postgres(one) => timed("postgres", self.postgres().execute(one)).await.map(|done| done.rows_affected()),
        }
    }

    fn sqlite(self) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
        self.values.into_iter().fold(sqlx::query(safe(self.sql)), |query, value| match value {
            Value::Text(text) => query.bind(text),
            Value::Integer(number) => query.bind(number),
            Value::Bytes(bytes) => query.bind(bytes),
        })
    }

    fn postgres(self) -> sqlx::query::Query<'static, Postgres, PgArguments> {
        self.values.into_iter().fold(sqlx::query(safe(self.sql)), |query, value| match value {
            Value::Text(text) => query.bind(text.map(without_nul)),
            Value::Integer(number) => query.bind(number),
            Value::Bytes(bytes) => query.bind(bytes),
        })
    }
}

/// Values never are part of the text: [`Query::bind`] is the only way in for them.
fn safe(sql: Cow<'static, str>) -> sqlx::AssertSqlSafe<Cow<'static, str>> {
    sqlx::AssertSqlSafe(sql)
}

/// PostgreSQL has no text with this character.
fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

/// Where a statement goes.
pub(super) enum Target<'t> {
    SqlitePool(&'t SqlitePool),
    Sqlite(&'t mut SqliteConnection),
    PostgresPool(&'t PgPool),
    Postgres(&'t mut PgConnection),
}

impl<'t> From<&'t Database> for Target<'t> {
    fn from(database: &'t Database) -> Self {
        match database {
            Database::Sqlite(pool) => Self::SqlitePool(pool),
            Database::Postgres(pool) => Self::PostgresPool(pool),
        }
    }
}

impl<'t> From<&'t mut Tx> for Target<'t> {
    fn from(tx: &'t mut Tx) -> Self {
        match tx {
            Tx::Sqlite(held) => Self::Sqlite(&mut held.connection),
            Tx::Postgres(held) => Self::Postgres(&mut held.connection),
        }
    }
}

/// A row of an answer.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// The value of a column, which the statement names and the schema says to be of this kind.
    pub(super) fn get<'r, T: Read<'r>>(&'r self, column: &str) -> T {
        T::read(self, column)
    }

    /// Every column's name and value, in the order of the statement.
    pub(super) fn columns(&self) -> Result<Vec<(String, Value)>, Error> {
        let kind = |name: &str| match name {
            "TEXT" => Ok(Value::Text(None)),
            "INTEGER" | "INT8" => Ok(Value::Integer(None)),
            "BLOB" | "BYTEA" => Ok(Value::Bytes(None)),
            other => Err(unavailable(format!("a column of the unknown type {other}"))),
        };
        let all: Vec<(String, String)> = match self {
            Self::Sqlite(row) => {
                let kind_of = |column: &sqlx::sqlite::SqliteColumn| {
                    let value = row.try_get_raw(column.ordinal()).map(|value| value.type_info().name().to_owned());
                    let value = value.ok().filter(|name| name != "NULL");
                    (column.name().to_owned(), value.unwrap_or_else(|| column.type_info().name().to_owned()))
                };
                row.columns().iter().map(kind_of).collect()
            }
            Self::Postgres(row) => {
                row.columns().iter().map(|column| (column.name().to_owned(), column.type_info().name().to_owned())).collect()
            }
        };
        let read = |(name, of): (String, String)| {
            let value = match kind(&of)? {
                Value::Text(_) => Value::Text(self.get(&name)),
                Value::Integer(_) => Value::Integer(self.get(&name)),
                Value::Bytes(_) => Value::Bytes(self.get(&name)),
            };
            Ok((name, value))
        };
        all.into_iter().map(read).collect()
    }
}

/// What a column is read as.
pub(super) trait Read<'r> {
    fn read(row: &'r Row, column: &str) -> Self;
}

macro_rules! reads {
    ($($kind:ty),*) => { $(
        impl<'r> Read<'r> for $kind {
            fn read(row: &'r Row, column: &str) -> Self {
                match row {
                    Row::Sqlite(row) => row.get(column),
                    Row::Postgres(row) => row.get(column),
                }
            }
        }
    )* };
}
reads!(i64, String, &'r str, Vec<u8>, &'r [u8], Option<i64>, Option<String>, Option<&'r str>, Option<Vec<u8>>);

impl<'r> Read<'r> for bool {
    fn read(row: &'r Row, column: &str) -> Self {
        row.get::<i64>(column) != 0
    }
}

impl<'r> Read<'r> for u32 {
    fn read(row: &'r Row, column: &str) -> Self {
        Self::try_from(row.get::<i64>(column)).unwrap_or_default()
    }
}
