//! From HTTP to an operation and back, for the three AWS protocols.

use super::{
    Fault, Gateway, Operation, Protocol, Service, query,
    scim::{self, ScimAnswer},
};
use crate::{
    crypto::sigv4::HttpRequest,
    domain::{
        Error, ErrorKind,
        session::{Caller, RequestOrigin},
    },
};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header},
};
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
};

/// Largest request body of an API call, in bytes.
pub const MAX_BODY: usize = 512 * 1024;

/// A request on its way to an operation.
#[derive(Clone, Debug)]
pub struct WireRequest {
    /// From where.
    pub origin: Arc<RequestOrigin>,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// As they came.
    pub headers: HeaderMap,
    /// At most [`MAX_BODY`] bytes.
    pub body: Bytes,
    /// restJson1: what stands in the path.
    pub labels: Vec<(String, String)>,
    /// Read when somebody asks.
    parameters: OnceLock<Vec<(String, String)>>,
}

impl WireRequest {
    /// Takes an HTTP request apart.
    #[must_use]
    pub fn new(origin: Arc<RequestOrigin>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Self {
        Self { origin, method, uri, headers, body, labels: Vec::new(), parameters: OnceLock::new() }
    }

    /// Adds what stands in the path.
    #[must_use]
    pub fn with_labels(mut self, labels: Vec<(String, String)>) -> Self {
        self.labels = labels;
        self
    }

    /// Headers as text: what is none can't have been signed.
    fn texts(&self) -> Vec<(&str, &str)> {
        let mut texts = Vec::with_capacity(self.headers.len());
        for (name, value) in &self.headers {
            if let Ok(value) = std::str::from_utf8(value.as_bytes()) {
                texts.push((name.as_str(), value));
            }
        }
        texts
    }

    fn signed_view<'a>(&'a self, headers: &'a [(&'a str, &'a str)]) -> HttpRequest<'a> {
        HttpRequest {
            method: self.method.as_str(),
            path: self.uri.path(),
            query: self.uri.query().unwrap_or_default(),
            headers,
            body: &self.body,
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
    }

    /// The form parameters of a query-protocol request: from the body, or from a presigned URL, which may be used with GET
    /// or (as SDKs sign by default) with an empty POST. Never from both.
    #[must_use]
    pub fn parameters(&self) -> &[(String, String)] {
        self.parameters.get_or_init(|| {
            let raw = if self.body.is_empty() { self.uri.query().unwrap_or_default().as_bytes() } else { self.body.as_ref() };
            url::form_urlencoded::parse(raw).into_owned().collect()
        })
    }

    /// Whether the client asks a query service for JSON: `application/json` among what it accepts, and XML not before it.
    fn wants_json(&self) -> bool {
        let accept = self.header("accept").unwrap_or_default();
        let first = accept.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
        let mut known = first.filter(|kind| kind.ends_with("/json") || kind.ends_with("/xml"));
        known.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
    }
}

type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// A line of a service's table of contents.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The operation's name.
    pub operation: &'static str,
    /// Its Rust type, for the test that demands each operation in exactly one table.
    pub type_name: fn() -> &'static str,
    /// The service.
    pub event_source: &'static str,
    /// Its protocol.
    pub protocol: Protocol,
    /// restJson1: method and path.
    pub route: Option<(&'static str, &'static str)>,
    /// Serves a request.
    pub serve: Option<fn(Gateway, WireRequest) -> Answer>,
    /// Turns an error into the service's fault, for the golden table.
    pub fault: fn(&Error) -> Fault,
}

impl Entry {
    /// An operation of a query or JSON service.
    #[must_use]
    pub const fn rpc<O: Operation>() -> Self {
        Self::of::<O>(None, Some(|gateway, request| Box::pin(serve::<O>(gateway, request, StatusCode::OK))))
    }
    /// An operation with a method and path of its own.
    #[must_use]
    pub const fn rest<O: Operation>(method: &'static str, path: &'static str) -> Self {
        Self::of::<O>(Some((method, path)), Some(|gateway, request| Box::pin(serve::<O>(gateway, request, StatusCode::OK))))
    }
    /// The same, which answers 201.
    #[must_use]
    pub const fn created<O: Operation>(method: &'static str, path: &'static str) -> Self {
        Self::of::<O>(Some((method, path)), Some(|gateway, request| Box::pin(serve::<O>(gateway, request, StatusCode::CREATED))))
    }
    /// An operation of SCIM.
    #[must_use]
    pub const fn scim<O: Operation<Output = ScimAnswer>>(method: &'static str, path: &'static str) -> Self {
        Self::of::<O>(Some((method, path)), Some(|gateway, request| Box::pin(scim::serve::<O>(gateway, request))))
    }
    /// An operation that only pages or the command line of the broker itself call.
    #[must_use]
    pub const fn inner<O: Operation>() -> Self {
        Self::of::<O>(None, None)
    }
    const fn of<O: Operation>(
        route: Option<(&'static str, &'static str)>,
        serve: Option<fn(Gateway, WireRequest) -> Answer>,
    ) -> Self {
        Self {
            operation: O::NAME,
            type_name: std::any::type_name::<O>,
            event_source: O::Service::EVENT_SOURCE,
            protocol: O::Service::PROTOCOL,
            route,
            serve,
            fault: O::Service::fault,
        }
    }
}

/// Decodes, authenticates, calls, encodes.
async fn serve<O: Operation>(gateway: Gateway, request: WireRequest, status: StatusCode) -> Response<Body> {
    let outcome = handle::<O>(&gateway, &request).await;
    let protocol = O::Service::PROTOCOL;
    let request_id = request.origin.request_id.as_str();
    let in_json = matches!(protocol, Protocol::Query { .. }) && request.wants_json();
    let encoded = outcome.and_then(|output| {
        if in_json {
            query::to_json(O::NAME, &output, request_id).map_err(Error::internal)
        } else {
            encode::<O>(&output, request_id)
        }
    });
    match encoded {
        Ok(body) if in_json => respond(status, "application/json", request_id, body),
        Ok(body) => respond(status, content_type(protocol), request_id, body),
        Err(error) if in_json => refuse_in_json(&O::Service::fault(&error), request_id),
        Err(error) => refuse(protocol, &O::Service::fault(&error), request_id),
    }
}

/// A fault of a query service, for clients that asked for JSON.
fn refuse_in_json(fault: &Fault, request_id: &str) -> Response<Body> {
    let kind = if fault.status < 500 { "Sender" } else { "Receiver" };
    let body = serde_json::json!({
        "Error": { "Type": kind, "Code": fault.code, "Message": fault.message },
        "RequestId": request_id,
    });
    let status = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    with_code(respond(status, "application/json", request_id, body.to_string()), fault)
}

async fn handle<O: Operation>(gateway: &Gateway, request: &WireRequest) -> Result<O::Output, Error> {
    let now = request.origin.time;
    let principal = gateway.authenticate(request.signed_view(&request.texts()), O::Service::SIGNING_NAME, now).await?;
    let operation = decode::<O>(request)?;
    gateway.call(&Caller { principal, origin: request.origin.clone() }, operation).await
}

fn decode<O: Operation>(request: &WireRequest) -> Result<O, Error> {
    let invalid = |error: &dyn std::fmt::Display| Error::invalid(error.to_string());
    match O::Service::PROTOCOL {
        Protocol::Query { .. } => {
            let unsigned = |name: &str| name != "Action" && name != "Version" && !name.starts_with("X-Amz-");
            let parameters = request.parameters().iter().filter(|(name, _)| unsigned(name));
            query::from_parameters(parameters).map_err(|error| invalid(&error))
        }
        Protocol::Json { .. } => {
            let body: &[u8] = if request.body.is_empty() { b"{}" } else { &request.body };
            serde_json::from_slice(body).map_err(|error| invalid(&error))
        }
        Protocol::Rest | Protocol::Scim if request.method == Method::GET || request.body.is_empty() => {
            let query = request.uri.query().unwrap_or_default().as_bytes();
            let labels = request.labels.iter().cloned();
            let parameters: Vec<_> = url::form_urlencoded::parse(query).into_owned().chain(labels).collect();
            query::from_parameters(parameters.iter()).map_err(|error| invalid(&error))
        }
        Protocol::Rest | Protocol::Scim => match request.uri.query().filter(|query| !query.is_empty()) {
            None => serde_json::from_slice(&request.body).map_err(|error| invalid(&error)),
            // Members of both: those of the query string are text.
            Some(query) => {
                let mut members: serde_json::Map<_, _> =
                    serde_json::from_slice(&request.body).map_err(|error| invalid(&error))?;
                members.extend(url::form_urlencoded::parse(query.as_bytes()).map(|(key, value)| (key.into(), value.into())));
                serde_json::from_value(members.into()).map_err(|error| invalid(&error))
            }
        },
    }
}

fn encode<O: Operation>(output: &O::Output, request_id: &str) -> Result<String, Error> {
    match O::Service::PROTOCOL {
        Protocol::Query { version } => query::to_xml(O::NAME, version, output, request_id).map_err(Error::internal),
        Protocol::Json { .. } => match serde_json::to_string(output).map_err(Error::internal)?.as_str() {
            // Clients read an object, also where it says nothing.
            "null" => Ok("{}".to_owned()),
            body => Ok(body.to_owned()),
        },
        Protocol::Rest | Protocol::Scim => {
            let body = serde_json::to_string(output).map_err(Error::internal)?;
            // An operation without output answers with an empty body.
            Ok(if body == "null" { String::new() } else { body })
        }
    }
}

const fn content_type(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Query { .. } => "text/xml",
        Protocol::Json { .. } => "application/x-amz-json-1.1",
        Protocol::Rest | Protocol::Scim => "application/json",
    }
}

/// A fault in the shape of its protocol.
#[must_use]
pub fn refuse(protocol: Protocol, fault: &Fault, request_id: &str) -> Response<Body> {
    let status = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = match protocol {
        Protocol::Query { version } => format!(
            "<ErrorResponse xmlns=\"{}\"><Error><Type>{}</Type><Code>{}</Code><Message>{}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>",
            query::namespace(version),
            if fault.status < 500 { "Sender" } else { "Receiver" },
            fault.code,
            crate::crypto::xml::escape(&fault.message),
        ),
        Protocol::Json { .. } => serde_json::json!({ "__type": fault.code, "message": fault.message }).to_string(),
        Protocol::Rest | Protocol::Scim => match fault.oauth {
            // Clients of AWS look for `message`, those of OAuth for the other.
            Some(error) => {
                serde_json::json!({ "error": error, "message": fault.message, fault.message_member: fault.message }).to_string()
            }
            None => serde_json::json!({ "message": fault.message }).to_string(),
        },
    };
    let mut response = with_code(respond(status, content_type(protocol), request_id, body), fault);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn with_code(mut response: Response<Body>, fault: &Fault) -> Response<Body> {
    if let Ok(code) = HeaderValue::from_str(fault.code) {
        response.headers_mut().insert("x-amzn-errortype", code);
    }
    response
}

fn respond(status: StatusCode, content_type: &'static str, request_id: &str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

/// Finds and serves a request to `/`: by `X-Amz-Target`, else by `Action` and `Version`.
pub async fn dispatch(gateway: Gateway, tables: &'static [&'static [Entry]], request: WireRequest) -> Response<Body> {
    let all = || tables.iter().flat_map(|table| table.iter());
    if let Some(target) = request.header("x-amz-target").map(str::to_owned) {
        let found = all().find(|entry| match entry.protocol {
            Protocol::Json { target: prefix } => {
                target.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')) == Some(entry.operation)
            }
            Protocol::Query { .. } | Protocol::Rest | Protocol::Scim => false,
        });
        return match found.and_then(|entry| entry.serve) {
            Some(serve) => serve(gateway, request).await,
            None => unknown(Protocol::Json { target: "" }, &request, "The operation in X-Amz-Target is not served here"),
        };
    }
    let parameters = request.parameters();
    let one = |name: &str| {
        let mut found = parameters.iter().filter(|(key, _)| key == name);
        found.next().filter(|_| found.next().is_none()).map(|(_, value)| value.as_str())
    };
    let (action, version) = (one("Action").unwrap_or_default(), one("Version").unwrap_or_default());
    let found = all()
        .find(|entry| matches!(entry.protocol, Protocol::Query { version: own } if own == version) && entry.operation == action);
    match found.and_then(|entry| entry.serve) {
        Some(serve) => serve(gateway, request).await,
        None => {
            let shown: String = action.chars().take(64).collect();
            unknown(
                Protocol::Query { version: "2011-06-15" },
                &request,
                &format!("Could not find operation {shown} for version {}", version.chars().take(32).collect::<String>()),
            )
        }
    }
}

fn unknown(protocol: Protocol, request: &WireRequest, message: &str) -> Response<Body> {
    let error = Error::new(ErrorKind::UnknownOperation, message);
    let (status, code) = match protocol {
        Protocol::Query { .. } => super::fault::query_code(error.kind),
        Protocol::Json { .. } | Protocol::Rest | Protocol::Scim => super::fault::json_code(error.kind),
    };
    refuse(protocol, &Fault::new(status, code, &error), &request.origin.request_id)
}
