//! SCIM on the wire (RFC 7644): bearer tokens, documents, entity tags, and errors in its own shape.

use super::{Fault, Gateway, Operation, Service as _, wire::WireRequest};
use crate::{
    crypto::{same, sha256_hex},
    domain::{
        Error, ErrorKind, Timestamp,
        directory::BearerToken,
        session::{Caller, Principal},
    },
};
use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/scim+json");

/// What begins every token, so that scanners for leaked secrets know one.
pub const TOKEN_PREFIX: &str = "dpscim_";

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Here it is.
    Found,
    /// It was made.
    Created,
    /// It is done, and there is nothing to say.
    Done,
    /// The client has it already.
    NotModified,
}

impl Outcome {
    const fn status(self) -> StatusCode {
        match self {
            Self::Found => StatusCode::OK,
            Self::Created => StatusCode::CREATED,
            Self::Done => StatusCode::NO_CONTENT,
            Self::NotModified => StatusCode::NOT_MODIFIED,
        }
    }
}

/// An answer: the document is what counts, the rest becomes status and headers.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct ScimAnswer {
    /// How it went: the HTTP status.
    #[serde(skip)]
    pub outcome: Outcome,
    /// Where the resource is.
    #[serde(skip)]
    pub location: Option<String>,
    /// Its entity tag.
    #[serde(skip)]
    pub tag: Option<String>,
    /// None for an answer without a body.
    pub document: Option<Map<String, Value>>,
}

impl ScimAnswer {
    /// An answer with a document and nothing else.
    #[must_use]
    pub const fn new(document: Map<String, Value>) -> Self {
        Self { outcome: Outcome::Found, location: None, tag: None, document: Some(document) }
    }

    /// An answer without a document.
    #[must_use]
    pub const fn empty(outcome: Outcome) -> Self {
        Self { outcome, location: None, tag: None, document: None }
    }
}

fn refused() -> Error {
    Error::new(ErrorKind::InvalidBearer, "The token is not valid, or has ended.")
}

impl Gateway {
    /// The SCIM client behind a token: `dpscim_<id>_<secret>`.
    ///
    /// # Errors
    /// `InvalidBearer`: unknown, removed or over.
    async fn provisioner(&self, presented: &str, now: Timestamp) -> Result<Arc<BearerToken>, Error> {
        let (id, secret) = presented.strip_prefix(TOKEN_PREFIX).and_then(|rest| rest.split_once('_')).ok_or_else(refused)?;
        let (token, hash) = self.broker.store.read().bearer_token(id).await?.ok_or_else(refused)?;
        if !same(&sha256_hex(secret), &hash) || token.expires <= now {
            return Err(refused());
        }
        Ok(Arc::new(token))
    }
}

/// Decodes, authenticates, calls, encodes.
pub(super) async fn serve<O: Operation<Output = ScimAnswer>>(gateway: Gateway, request: WireRequest) -> Response<Body> {
    let mut response = match handle::<O>(&gateway, &request).await {
        Ok(answer) => accept(answer),
        Err(error) => refuse(&O::Service::fault(&error)),
    };
    if let Ok(id) = HeaderValue::from_str(&request.origin.request_id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}

async fn handle<O: Operation<Output = ScimAnswer>>(gateway: &Gateway, request: &WireRequest) -> Result<ScimAnswer, Error> {
    let authorization = request.header("authorization").unwrap_or_default();
    let bearer = authorization.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let (_, token) = bearer.ok_or_else(|| Error::new(ErrorKind::MissingCredentials, "A request needs a bearer token."))?;
    let token = gateway.provisioner(token.trim(), request.origin.time).await?;
    let operation = decode::<O>(request)?;
    gateway.call(&Caller { principal: Principal::Provisioner(token), origin: request.origin.clone() }, operation).await
}

/// Members of an operation: what stands in the path and in the query, two headers, and the body as `resource`.
fn decode<O: Operation>(request: &WireRequest) -> Result<O, Error> {
    let query = url::form_urlencoded::parse(request.uri.query().unwrap_or_default().as_bytes()).into_owned();
    let headers = [("ifMatch", "if-match"), ("ifNoneMatch", "if-none-match")];
    let headers = headers.into_iter().filter_map(|(member, name)| Some((member.to_owned(), request.header(name)?.to_owned())));
    let mut members: Map<String, Value> =
        query.chain(headers).chain(request.labels.iter().cloned()).map(|(name, value)| (name, value.into())).collect();
    members.remove("resource");
    if !request.body.is_empty() {
        let malformed =
            |error: &dyn std::fmt::Display| Error::new(ErrorKind::InvalidSyntax, format!("The body is no JSON: {error}."));
        let body: Value = serde_json::from_slice(&request.body).map_err(|error| malformed(&error))?;
        members.insert("resource".to_owned(), body);
    }
    serde_json::from_value(members.into()).map_err(|error| Error::new(ErrorKind::InvalidSyntax, format!("{error}.")))
}

fn accept(answer: ScimAnswer) -> Response<Body> {
    let body = answer.document.map(|document| Value::Object(document).to_string()).unwrap_or_default();
    let mut response = respond(answer.outcome.status(), body);
    let headers = response.headers_mut();
    for (name, value) in [(header::LOCATION, answer.location), (header::ETAG, answer.tag)] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(name, value);
        }
    }
    response
}

/// An error (RFC 7644, section 3.12). The fault's code is the `scimType`, where there is one.
fn refuse(fault: &Fault) -> Response<Body> {
    let status = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut body = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "status": fault.status.to_string(),
        "detail": fault.message,
    });
    if let (false, Value::Object(body)) = (fault.code.is_empty(), &mut body) {
        body.insert("scimType".to_owned(), fault.code.into());
    }
    let mut response = respond(status, body.to_string());
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// For addresses below `/scim` where nothing is: `Bulk`, `Me` and a search over everything are known, and not served.
#[must_use]
pub fn elsewhere(path: &str) -> Response<Body> {
    let known = ["/scim/v2/Bulk", "/scim/v2/Me", "/scim/v2/.search"].contains(&path);
    let (status, message) = if known { (501, "This is not served here.") } else { (404, "There is nothing at this address.") };
    refuse(&Fault::new(status, "", &Error::new(ErrorKind::NoSuchEntity, message)))
}

fn respond(status: StatusCode, body: String) -> Response<Body> {
    let empty = body.is_empty();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if !empty {
        headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
