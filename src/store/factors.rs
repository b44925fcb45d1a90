//! Second factors of people: sealed, and apart from the snapshot, since there may be as many as there are people.

use super::{
    ReadTx, RecordTx, Store, WriteTx,
    entities::damaged,
    sql::{self, Row},
};
use crate::{
    crypto::seal::Purpose,
    domain::{
        Error, Timestamp,
        factor::{self, Factor, FactorKind},
    },
};

fn context(id: &str) -> String {
    format!("factor/{id}")
}

impl Store {
    fn factor(&self, row: &Row) -> Result<Factor, Error> {
        let id: String = row.get("id");
        let opened = self.ring.open(Purpose::StoredSecret, &context(&id), row.get("kind"));
        let kind = opened.and_then(|kind| serde_json::from_slice(&kind).ok());
        Ok(Factor {
            kind: kind.ok_or_else(|| damaged("factor", "it can't be opened"))?,
            id,
            person: row.get("person"),
            name: row.get("name"),
            created: Timestamp(row.get("created")),
            used: row.get::<Option<i64>>("used").map(Timestamp),
        })
    }
}

impl ReadTx<'_> {
    /// A person's factors, oldest first.
    ///
    /// # Errors
    /// `Unavailable`, as for everything here.
    pub async fn factors(&self, person: &str) -> Result<Vec<Factor>, Error> {
        let query = sql::query("SELECT * FROM factor WHERE person = $1 ORDER BY created, id").bind(person);
        let rows = query.fetch_all(&self.store.readers).await?;
        rows.iter().map(|row| self.store.factor(row)).collect()
    }

    /// The passkey with this credential id (base64url), whoever has it.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn passkey(&self, credential_id: &str) -> Result<Option<Factor>, Error> {
        let query = sql::query("SELECT * FROM factor WHERE credential_id = $1").bind(credential_id);
        let row = query.fetch_optional(&self.store.readers).await?;
        row.map(|row| self.store.factor(&row)).transpose()
    }
}

impl RecordTx<'_> {
    /// Since when a person may put their first factor off: since now, where nobody asked before.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn factor_grace(&mut self, person: &str, now: Timestamp) -> Result<Timestamp, Error> {
        let insert = "INSERT INTO factor_grace (person, since) VALUES ($1, $2) ON CONFLICT (person) DO NOTHING";
        let writer = &self.store.writer;
        sql::query(insert).bind(person).bind(now.0).execute(writer).await?;
        let query = sql::query("SELECT since FROM factor_grace WHERE person = $1").bind(person);
        Ok(Timestamp(query.fetch_one(writer).await?.get("since")))
    }
}

// None of these touches what decisions are made on: the snapshot stays.
impl WriteTx<'_> {
    /// A person's factors, as of this transaction.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn factors(&mut self, person: &str) -> Result<Vec<Factor>, Error> {
        let query = sql::query("SELECT * FROM factor WHERE person = $1 ORDER BY created, id").bind(person);
        let rows = query.fetch_all(&mut self.tx).await?;
        rows.iter().map(|row| self.store.factor(row)).collect()
    }

    /// Enrols a factor, or keeps what changed of it by its use.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_factor(&mut self, factor: &Factor) -> Result<(), Error> {
        let kind = serde_json::to_vec(&factor.kind).map_err(Error::internal)?;
        let sealed = self.store.ring.seal(Purpose::StoredSecret, &context(&factor.id), &kind).map_err(Error::internal)?;
        let credential_id = match &factor.kind {
            FactorKind::Passkey { credential_id, .. } => Some(credential_id.clone()),
            FactorKind::Totp { .. } | FactorKind::RecoveryCodes { .. } => None,
        };
        let query = sql::query(
            "INSERT INTO factor (id, person, name, credential_id, kind, created, used) VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (id) DO UPDATE SET name = $3, kind = $5, used = $7",
        );
        let query = query.bind(factor.id.clone()).bind(factor.person.clone()).bind(factor.name.clone()).bind(credential_id);
        let query = query.bind(sealed).bind(factor.created.0).bind(factor.used.map(|used| used.0));
        self.aside(query).await.map(drop)
    }

    /// Removes a factor. Returns whether it was there.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_factor(&mut self, person: &str, id: &str) -> Result<bool, Error> {
        let query = sql::query("DELETE FROM factor WHERE person = $1 AND id = $2").bind(person.to_owned()).bind(id.to_owned());
        Ok(self.aside(query).await? == 1)
    }

    /// Removes everything that people of a provider have enrolled.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_factors_of_provider(&mut self, resource: &str) -> Result<(), Error> {
        let query = sql::query("DELETE FROM factor WHERE substr(person, 1, length($1)) = $1").bind(factor::owner(resource, ""));
        self.aside(query).await.map(drop)
    }

    /// Removes everything a person has enrolled. Returns how much that was.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_factors(&mut self, person: &str) -> Result<u64, Error> {
        self.aside(sql::query("DELETE FROM factor WHERE person = $1").bind(person.to_owned())).await
    }
}
