//! Lists: paging, filters, and what of each resource is wanted (RFC 7644, section 3.4.2).

use super::{
    document::{Document, Projection},
    filter,
    schema::ResourceType,
};
use crate::{
    domain::{Error, ErrorKind},
    gateway::scim::ScimAnswer,
    store::{Narrow, Slice},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::future::Future;

/// Most resources of one answer.
pub(super) const MAX_COUNT: usize = 200;
/// Resources of an answer when the client does not say.
const COUNT: usize = 100;
/// Most resources that are looked at for a filter no index helps with.
const MAX_SCANNED: usize = 100_000;
/// Longest filter that no index helps with, in bytes.
const MAX_UNINDEXED_FILTER: usize = 1024;
/// So many are read at once.
const BATCH: u32 = 500;

/// The parameters.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Query {
    /// Only what fits.
    pub filter: Option<String>,
    /// The first one that is wanted: 1 is the first of all.
    pub start_index: Option<String>,
    /// At most so many.
    pub count: Option<String>,
    /// Only these attributes.
    pub attributes: Option<String>,
    /// All but these attributes.
    pub excluded_attributes: Option<String>,
}

/// The same in the body of a request (RFC 7644, section 3.4.3), for what is too long, or too private, for an address.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SearchRequest {
    filter: Option<String>,
    start_index: Option<i64>,
    count: Option<i64>,
    attributes: Option<Vec<String>>,
    excluded_attributes: Option<Vec<String>>,
}

impl From<SearchRequest> for Query {
    fn from(request: SearchRequest) -> Self {
        Self {
            filter: request.filter,
            start_index: request.start_index.map(|number| number.to_string()),
            count: request.count.map(|number| number.to_string()),
            attributes: request.attributes.map(|names| names.join(",")),
            excluded_attributes: request.excluded_attributes.map(|names| names.join(",")),
        }
    }
}

impl Query {
    fn number(name: &str, text: Option<&str>, otherwise: usize) -> Result<usize, Error> {
        let Some(text) = text else { return Ok(otherwise) };
        let number: i64 = text.parse().map_err(|_| Error::invalid(format!("{name} has to be a number.")))?;
        Ok(usize::try_from(number).unwrap_or(0))
    }

    /// How many to leave out, and how many to give. What is below the smallest counts as that.
    fn window(&self) -> Result<(usize, usize), Error> {
        let start = Self::number("startIndex", self.start_index.as_deref(), 1)?.max(1);
        let count = Self::number("count", self.count.as_deref(), COUNT)?.min(MAX_COUNT);
        Ok((start - 1, count))
    }
}

/// What can be listed.
pub(super) trait Listed: Sync {
    /// Its kind.
    fn kind(&self) -> &'static ResourceType;
    /// How many there are.
    fn count(&self) -> impl Future<Output = Result<i64, Error>> + Send;
    /// Part of them, in the order of ids.
    fn documents(&self, narrow: &Narrow, slice: &Slice) -> impl Future<Output = Result<Vec<Document>, Error>> + Send;
}

/// A page of what fits.
pub(super) async fn list(listed_kind: &impl Listed, query: &Query) -> Result<ScimAnswer, Error> {
    let kind = listed_kind.kind();
    let (skip, count) = query.window()?;
    let projection = Projection::new(kind, query.attributes.as_deref(), query.excluded_attributes.as_deref());
    let (total, mut page) = match query.filter.as_deref().map(str::trim).filter(|filter| !filter.is_empty()) {
        Some(text) => filtered(listed_kind, text, skip, count).await?,
        None => {
            let slice = Slice {
                after: String::new(),
                skip: u32::try_from(skip).unwrap_or(u32::MAX),
                most: u32::try_from(count).unwrap_or(0),
            };
            let total = usize::try_from(listed_kind.count().await?).unwrap_or_default();
            (total, if count == 0 { Vec::new() } else { listed_kind.documents(&Narrow::All, &slice).await? })
        }
    };
    page.iter_mut().for_each(|document| projection.apply(document));
    Ok(listed(total, skip + 1, page.into_iter().map(Value::Object).collect()))
}

async fn filtered(listed: &impl Listed, text: &str, skip: usize, count: usize) -> Result<(usize, Vec<Document>), Error> {
    let kind = listed.kind();
    let filter = filter::parse(kind, text)?;
    let narrow = filter::narrow(kind, &filter);
    if narrow == Narrow::All && text.len() > MAX_UNINDEXED_FILTER {
        return Err(Error::new(ErrorKind::LimitExceeded, "The filter is too long for one that looks at everything."));
    }
    let (mut total, mut page, mut scanned) = (0, Vec::new(), 0);
    let mut slice = Slice { after: String::new(), skip: 0, most: BATCH };
    loop {
        let batch = listed.documents(&narrow, &slice).await?;
        let Some(last) = batch.last().and_then(|last| last.get("id")).and_then(Value::as_str) else { break };
        last.clone_into(&mut slice.after);
        scanned += batch.len();
        if scanned > MAX_SCANNED {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                "The filter looks at too many. Ask for an id, externalId or name as well.",
            ));
        }
        for document in batch.into_iter().filter(|document| filter::fits(kind, &filter, document)) {
            if total >= skip && page.len() < count {
                page.push(document);
            }
            total += 1;
        }
    }
    Ok((total, page))
}

/// A list as an answer.
pub(super) fn listed(total: usize, start: usize, resources: Vec<Value>) -> ScimAnswer {
    let body = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": resources.len(),
        "Resources": resources,
    });
    ScimAnswer::new(match body {
        Value::Object(body) => body,
        _ => Document::new(),
    })
}
