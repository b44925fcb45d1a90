//! The policy engine, by cases in `tests/data/policy`. A reviewer can add one without Rust.

mod cases;
mod findings;
mod generated;
mod heap;
mod managed;
mod parsers;
mod reference;
mod rule;
mod takeable;

use daypass::{
    domain::{
        Timestamp,
        iam::Role,
        name::{AccountId, RoleName},
    },
    policy::{CompiledRole, Context, Library},
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// The account that resources are in.
pub(crate) const OWN: &str = "111122223333";
/// Another one.
pub(crate) const OTHER: &str = "444455556666";

fn role(account: &str, name: &str, trust: &str) -> Role {
    Role {
        account: AccountId::parse(account).unwrap(),
        name: RoleName::parse(name).unwrap(),
        path: "/".to_owned(),
        id: format!("AROA{}", "X".repeat(17)),
        description: String::new(),
        trust_policy: trust.into(),
        max_session_seconds: 3600,
        created: Timestamp(0),
        inline_policies: BTreeMap::new(),
        attached_policies: Vec::new(),
    }
}

fn compile(role: Role) -> Result<Arc<CompiledRole>, String> {
    CompiledRole::compile(role, &mut Library::default(), |_| None).map(Arc::new).map_err(|error| error.to_string())
}

/// A context from JSON: strings, or lists of strings.
fn context(pairs: &BTreeMap<String, Value>) -> Context {
    let mut context = Context::default();
    for (key, value) in pairs {
        context.set_list(key, strings(value));
    }
    context
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().map(|one| one.as_str().unwrap().to_owned()).collect(),
        Value::String(one) => vec![one.clone()],
        other => panic!("{other} is not a string or a list"),
    }
}
