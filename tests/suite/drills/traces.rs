//! What a collector of traces gets: a sign-in is one trace, also when two brokers answer it.

use super::{
    node::{Site, get, measured, until},
    nodes::Proxy,
};
use crate::stores::{Postgres, Service};
use axum::{Router, body::Bytes, extract::State, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message as _;
use std::sync::{Arc, Mutex};

/// Takes whatever is sent to it.
pub struct Collector {
    pub port: u16,
    bodies: Arc<Mutex<Vec<Bytes>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Collector {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let take = |State(bodies): State<Arc<Mutex<Vec<Bytes>>>>, body: Bytes| async move { bodies.lock().unwrap().push(body) };
        let router = Router::new().route("/v1/traces", post(take)).with_state(bodies.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { port, bodies, task }
    }

    pub fn settings(&self) -> String {
        format!("[traces]\nendpoint = \"http://127.0.0.1:{}\"\n", self.port)
    }

    /// Everything that came, as it came.
    pub fn bytes(&self) -> Vec<u8> {
        self.bodies.lock().unwrap().concat()
    }

    /// Spans, with the broker that each is of.
    fn spans(&self) -> Vec<(String, Span)> {
        let bodies = self.bodies.lock().unwrap();
        let requests = bodies.iter().map(|body| ExportTraceServiceRequest::decode(body.clone()).unwrap());
        let mut spans = Vec::new();
        for resource in requests.flat_map(|request| request.resource_spans) {
            let of = attribute(&resource.resource.unwrap().attributes, "service.instance.id").unwrap();
            spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| (of.clone(), span)));
        }
        spans
    }
}

fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value?;
    Some(match value {
        Value::StringValue(text) => text,
        other => format!("{other:?}"),
    })
}

#[tokio::test]
async fn a_sign_in_that_two_brokers_answer_is_one_trace() {
    let (postgres, redis) = (Postgres::new().await, Service::start("redis.sh", &[]));
    let collector = Collector::start().await;
    let site = Site::new(&format!(
        "trusted_proxies = [\"127.0.0.1\"]\n{}{}{}",
        Site::postgres(&postgres),
        Site::redis(&redis),
        collector.settings()
    ));
    let (mut first, mut second) = (site.node("a").await, site.node("b").await);
    let mut browser = site.browser(&first);
    let form = browser.begin(&site.password).await.unwrap();
    browser.port = second.port;
    assert!(browser.finish("user_name=jane%40example.com&password=x").await.is_err(), "without the step's handle");
    browser.finish(&form).await.unwrap();
    assert!(browser.is_signed_in().await.unwrap());
    first.stop().await;
    second.stop().await;

    let spans = collector.spans();
    let named = |name: &str| {
        let found: Vec<_> = spans.iter().filter(|(_, span)| span.name == name).collect();
        assert!(!found.is_empty(), "{name}: {:?}", spans.iter().map(|(_, span)| &span.name).collect::<Vec<_>>());
        found
    };
    let (begun_at, begun) = named("GET /sign-in/{source}")[0];
    let (completed_at, completed) = named("CompleteSignIn")[0];
    assert_ne!(begun_at, completed_at, "two brokers");
    assert_eq!(begun.trace_id, completed.trace_id, "one trace");
    let parent = |span: &Span| spans.iter().find(|(_, other)| other.span_id == span.parent_span_id).map(|(_, span)| span.clone());
    let answered = parent(completed).unwrap();
    assert_eq!(answered.name, "POST /sign-in/{source}");
    assert_eq!(answered.parent_span_id, begun.span_id, "it goes on where it began");
    // What waited for what, on the second broker.
    let beneath: Vec<&str> = spans
        .iter()
        .filter(|(at, span)| at == completed_at && span.trace_id == begun.trace_id)
        .map(|(_, span)| span.name.as_str())
        .collect();
    for name in ["redis", "postgresql"] {
        assert!(beneath.contains(&name), "{name}: {beneath:?}");
    }
    // The request itself began before anybody knew the browser: it says so by a link.
    let linked = &answered.links[0];
    let request = spans.iter().find(|(_, span)| span.span_id == linked.span_id).unwrap();
    assert_eq!(attribute(&request.1.attributes, "http.response.status_code").as_deref(), Some("IntValue(303)"));
    // The sign-in is over: what the browser does afterwards is another trace.
    assert!(named("GET /portal").iter().all(|(_, span)| span.trace_id != begun.trace_id));
    // What the broker does by itself, and what asks whether it is there, begins none.
    let behind = |span: &Span| span.kind == 2 || spans.iter().any(|(_, other)| other.span_id == span.parent_span_id);
    assert!(spans.iter().all(|(_, span)| behind(span)), "a request is behind everything");
    assert!(spans.iter().all(|(_, span)| !span.name.contains("readyz")));
    assert!(named("audit").iter().any(|(_, span)| span.trace_id == begun.trace_id), "the record was waited for");
}

const BEGUN: (&str, &str) = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");

/// The traces of requests for the portal.
fn portal(collector: &Collector) -> Vec<String> {
    let spans = collector.spans();
    spans.iter().filter(|(_, span)| span.name == "GET /portal").map(|(_, span)| hex::encode(&span.trace_id)).collect()
}

#[tokio::test]
async fn a_trace_that_begins_at_a_proxy_goes_on_and_strangers_begin_none() {
    let begun = BEGUN.1.split('-').nth(1).unwrap();
    for (proxies, goes_on) in [("trusted_proxies = [\"127.0.0.1\"]\n", true), ("", false)] {
        let collector = Collector::start().await;
        let site = Site::new(&format!("{proxies}{}", collector.settings()));
        let mut node = site.node("a").await;
        node.get_with("/portal", &[BEGUN]).await.unwrap();
        if goes_on {
            // What a client says goes no further than the proxy that we ship.
            let proxy = Proxy::start(&site, [node.port, node.port]);
            let through = async || matches!(get(proxy.port, "/portal", &[BEGUN]).await, Ok((303, _))).then_some(());
            until("through the proxy", through).await;
        }
        node.stop().await;
        let traces = portal(&collector);
        assert_eq!(traces.iter().filter(|trace| *trace == begun).count(), usize::from(goes_on), "{traces:?}");
        assert_eq!(traces.len(), if goes_on { 2 } else { 1 });
    }
}

#[tokio::test]
async fn so_many_traces_are_kept_as_the_settings_say() {
    let collector = Collector::start().await;
    let site = Site::new(&format!("{}ratio = 0.0\n", collector.settings()));
    let mut node = site.node("a").await;
    node.get("/portal").await.unwrap();
    node.stop().await;
    assert!(collector.spans().is_empty());
}

#[tokio::test]
async fn a_collector_that_is_away_or_hangs_is_nobodys_trouble() {
    // In the queue of the kernel, where nobody ever takes it from.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for port in [9, silent.local_addr().unwrap().port()] {
        let site = Site::new(&format!("[traces]\nendpoint = \"http://127.0.0.1:{port}\"\n"));
        let mut node = site.node("a").await;
        site.browser(&node).sign_in(&site.password).await.unwrap();
        let began = std::time::Instant::now();
        node.stop().await;
        measured("traces", &format!("stopping while port {port} takes none, seconds"), began.elapsed().as_secs());
        assert!(node.said().contains("the collector takes no traces") || node.said().contains("in time"), "{}", node.said());
    }
}
