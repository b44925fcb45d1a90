//! Role mapping: who gets which role by which claims, as a list and as a matrix.

use super::{Frame, May, frame, rules::RuleLine};
use crate::{
    api::{
        directory::groups::NameOf,
        iam::trust::mappings::{ListRoleMappings, RoleMapping},
    },
    domain::{ErrorKind, name::AccountId, session::Caller},
    pages::{
        Browser, Page, Pages,
        portal::{AccountLook, duration},
        render,
    },
    policy::rule::{FactorRule, FederatedRule, Rule, RuleCondition},
    store::Snapshot,
};
use askama::Template;
use axum::{
    extract::{Query, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Most claims across the matrix.
const MOST_COLUMNS: usize = 12;
/// Most accounts that a menu offers.
const MOST_ACCOUNTS: usize = 200;

#[derive(Template)]
#[template(path = "admin/mapping.html")]
struct MappingPage {
    frame: Frame,
    filter: Filter,
    /// Number and name, where the session sees more than its own.
    accounts: Vec<(String, String)>,
    lines: Vec<Line>,
    columns: Vec<Column>,
    hidden_columns: usize,
    next: Option<String>,
    /// Why only a part is shown.
    partial: String,
    refused: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    text: String,
    account: String,
    view: String,
    marker: Option<String>,
}

impl Filter {
    fn is_matrix(&self) -> bool {
        self.view == "matrix"
    }

    /// The page with another view, or the page after this one.
    fn link(&self, view: &str, marker: Option<&String>) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("text", &self.text).append_pair("account", &self.account).append_pair("view", view);
        if let Some(marker) = marker {
            query.append_pair("marker", marker);
        }
        format!("/admin/mapping?{}", query.finish())
    }
}

/// One role.
struct Line {
    name: String,
    account: AccountLook,
    /// Where it is changed, where this console can.
    place: Option<String>,
    /// Whether it is a permission set.
    assigned: bool,
    hours: String,
    rules: Vec<RuleLine>,
    marks: Vec<Mark>,
}

/// A claim value across the matrix.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Column {
    key: String,
    value: String,
}

/// What a claim value does for a role.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    No,
    /// More has to hold.
    More,
    Yes,
    Never,
}

pub(super) async fn list(State(pages): State<Pages>, browser: Browser, Query(filter): Query<Filter>) -> Page {
    let (caller, console) = browser.console(&pages).await?;
    let frame = frame(&pages, &console, "mapping");
    let own = &console.session.account;
    let chosen = Some(filter.account.as_str()).filter(|text| !text.is_empty()).map(AccountId::parse).transpose()?;
    let may_see_all = May::call(&pages, &caller, &ListRoleMappings::default()).await?;
    let wish = |account| ListRoleMappings { account, text: filter.text.clone(), marker: filter.marker.clone() };
    let mut partial = String::new();
    let mut outcome = pages.gateway.call(&caller, wish(chosen.clone())).await;
    // Who may not see the organization sees their own account.
    if chosen.is_none() && outcome.as_ref().is_err_and(|error| error.kind == ErrorKind::AccessDenied) {
        "Roles of this account. The management account sees those of all.".clone_into(&mut partial);
        outcome = pages.gateway.call(&caller, wish(Some(own.clone()))).await;
    }
    let snapshot = pages.gateway.snapshot();
    let mut page = MappingPage {
        frame,
        accounts: Vec::new(),
        lines: Vec::new(),
        columns: Vec::new(),
        hidden_columns: 0,
        next: None,
        partial,
        filter: filter.clone(),
        refused: String::new(),
    };
    match outcome {
        Ok(mut found) => {
            name_groups(&pages, &caller, &mut found.mappings).await;
            // Who sees one account has no other to choose.
            if page.partial.is_empty() && may_see_all.allowed {
                let known = snapshot.accounts.values().take(MOST_ACCOUNTS);
                page.accounts = known.map(|account| (account.id.to_string(), account.name.clone())).collect();
            }
            if filter.is_matrix() {
                (page.columns, page.hidden_columns) = columns(&found.mappings);
            }
            page.lines = found.mappings.iter().map(|mapping| line(mapping, own, &page.columns, &snapshot)).collect();
            page.next = found.marker;
            Ok(render(&page))
        }
        Err(error) if error.kind == ErrorKind::AccessDenied => {
            page.refused = error.public;
            Ok((StatusCode::FORBIDDEN, render(&page)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// Assignments name groups by id: people know them by name.
async fn name_groups(pages: &Pages, caller: &Caller, mappings: &mut [RoleMapping]) {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for rule in mappings.iter_mut().flat_map(|mapping| &mut mapping.rules) {
        let Rule::Federated(rule) = rule else { continue };
        for condition in rule.conditions.iter_mut().filter(|condition| condition.key == "directory:group_ids") {
            for id in &mut condition.values {
                if !names.contains_key(id) {
                    let Ok(found) = pages.gateway.call(caller, NameOf { id: id.clone() }).await else { return };
                    names.insert(id.clone(), found.name);
                }
                if let Some(name) = names.get(id) {
                    name.clone_into(id);
                }
            }
            "directory:groups".clone_into(&mut condition.key);
        }
    }
}

fn line(mapping: &RoleMapping, own: &AccountId, columns: &[Column], snapshot: &Snapshot) -> Line {
    let role = &mapping.role;
    Line {
        name: snapshot.known_name(role).to_owned(),
        place: match snapshot.permission_sets.values().find(|set| role.permission_set() == Some(set.name.as_str())) {
            Some(set) => Some(format!("/admin/permission-sets/{}", set.id)),
            None => (role.account == *own).then(|| format!("/admin/roles/{}", role.name)),
        },
        assigned: role.permission_set().is_some(),
        account: AccountLook::new(&role.account, snapshot.accounts.get(&role.account)),
        hours: duration(role.max_session_seconds),
        rules: mapping.rules.iter().map(|rule| RuleLine::new(rule, snapshot)).collect(),
        marks: columns.iter().map(|column| mark(&mapping.rules, column)).collect(),
    }
}

/// Whether a condition is met by having a value.
fn asks_for(condition: &RuleCondition) -> bool {
    ["StringEquals", "ForAnyValue:StringEquals", "StringLike", "ForAnyValue:StringLike"].contains(&condition.operator.as_str())
}

/// The claim values that decide most, in the order of their keys; and how many there are besides.
fn columns(mappings: &[RoleMapping]) -> (Vec<Column>, usize) {
    let mut count: BTreeMap<Column, usize> = BTreeMap::new();
    let rules = mappings.iter().flat_map(|mapping| &mapping.rules);
    for rule in rules {
        let Rule::Federated(rule) = rule else { continue };
        for condition in rule.conditions.iter().filter(|condition| asks_for(condition)) {
            for value in &condition.values {
                *count.entry(Column { key: condition.key.clone(), value: value.clone() }).or_default() += 1;
            }
        }
    }
    let mut all: Vec<(Column, usize)> = count.into_iter().collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let hidden = all.len().saturating_sub(MOST_COLUMNS);
    all.truncate(MOST_COLUMNS);
    let mut columns: Vec<Column> = all.into_iter().map(|(column, _)| column).collect();
    columns.sort();
    (columns, hidden)
}

fn mark(rules: &[Rule], column: &Column) -> Mark {
    let of = |rule: &Rule| {
        let Rule::Federated(FederatedRule { conditions, factor, denies, .. }) = rule else { return Mark::No };
        let about = |condition: &&RuleCondition| {
            asks_for(condition) && condition.key == column.key && condition.values.contains(&column.value)
        };
        if !conditions.iter().any(|condition| about(&condition)) {
            return Mark::No;
        }
        match (*denies, conditions.len() == 1 && *factor == FactorRule::None) {
            (true, _) => Mark::Never,
            (false, true) => Mark::Yes,
            (false, false) => Mark::More,
        }
    };
    rules.iter().map(of).max().unwrap_or(Mark::No)
}
