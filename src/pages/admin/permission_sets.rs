//! Permission sets: roles in many accounts, and who is assigned them where.

use super::{
    Frame, May, beside, frame,
    roles::pretty,
    rules::{FindingLine, claim_keys, findings},
};
use crate::{
    api::{
        access_analyzer::PolicyType,
        directory::groups::{FindByName, NameOf, SearchGroups},
        organizations::accounts::SearchAccounts,
        sso_admin::{
            AttachManagedPolicyToPermissionSet, CreatePermissionSet, DeleteInlinePolicyFromPermissionSet, DeletePermissionSet,
            DescribePermissionSet, DetachManagedPolicyFromPermissionSet, GetInlinePolicyForPermissionSet,
            ListManagedPoliciesInPermissionSet, ListPermissionSets, PermissionSetDetail, PutInlinePolicyToPermissionSet,
            UpdatePermissionSet,
            assignments::{ListAssignments, SetAssignment},
            instance_arn, permission_set_arn,
        },
    },
    domain::{
        Arn, Error, ErrorKind,
        name::{AccountId, PermissionSetName, ProviderName},
        permission_set::{AccountAssignment, AssignmentPrincipal, AssignmentTarget},
        session::Caller,
    },
    pages::{Browser, Page, PageError, Pages, render},
    policy::aws_managed,
    store::Snapshot,
};
use askama::Template;
use axum::{
    Form,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "admin/permission_sets.html")]
struct PermissionSetsPage {
    frame: Frame,
    /// Id and facts.
    sets: Vec<(String, PermissionSetDetail)>,
    next: Option<String>,
    may_create: May,
    form: NewSet,
    problem: String,
    refused: String,
}

/// The form for a new one, kept as it was sent.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NewSet {
    name: String,
    description: String,
    hours: String,
}

#[derive(Deserialize)]
pub(super) struct Paging {
    marker: Option<String>,
}

pub(super) async fn list(State(pages): State<Pages>, browser: Browser, Query(paging): Query<Paging>) -> Page {
    sets_page(&pages, &browser, paging.marker, NewSet::default(), String::new()).await
}

async fn sets_page(pages: &Pages, browser: &Browser, marker: Option<String>, form: NewSet, problem: String) -> Page {
    let (caller, console) = browser.console(pages).await?;
    let snapshot = pages.gateway.snapshot();
    let instance_arn = instance_arn(&snapshot)?;
    let sample = CreatePermissionSet {
        instance_arn: instance_arn.clone(),
        name: PermissionSetName::parse("new")?,
        description: None,
        session_duration: None,
    };
    let mut page = PermissionSetsPage {
        frame: frame(pages, &console, "permission-sets"),
        sets: Vec::new(),
        next: None,
        may_create: May::call(pages, &caller, &sample).await?,
        form,
        problem,
        refused: String::new(),
    };
    let wish = ListPermissionSets { instance_arn: instance_arn.clone(), max_results: Some(50), next_token: marker };
    match pages.gateway.call(&caller, wish).await {
        Ok(found) => {
            for permission_set_arn in found.permission_sets {
                let id = permission_set_arn.rsplit('/').next().unwrap_or_default().to_owned();
                let wish = DescribePermissionSet { instance_arn: instance_arn.clone(), permission_set_arn };
                page.sets.push((id, pages.gateway.call(&caller, wish).await?.permission_set));
            }
            page.next = found.next_token;
            Ok(render(&page))
        }
        Err(error) if error.kind == ErrorKind::AccessDenied => {
            page.refused = error.public;
            Ok((StatusCode::FORBIDDEN, render(&page)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// `PT4H` of `4`.
fn duration(hours: &str) -> Result<String, Error> {
    let wrong = || Error::invalid("The longest session is 1 to 12 hours.");
    let hours: u32 = hours.trim().parse().map_err(|_| wrong())?;
    if (1..=12).contains(&hours) { Ok(format!("PT{hours}H")) } else { Err(wrong()) }
}

pub(super) async fn create(State(pages): State<Pages>, browser: Browser, Form(form): Form<NewSet>) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    let outcome = async {
        let name = PermissionSetName::parse(form.name.trim())
            .map_err(|_| Error::invalid("A name has 1 to 32 letters, digits, and characters of `+=,.@_-`."))?;
        let wish = CreatePermissionSet {
            instance_arn: instance_arn(&pages.gateway.snapshot())?,
            name,
            description: Some(form.description.clone()),
            session_duration: Some(duration(if form.hours.is_empty() { "4" } else { &form.hours })?),
        };
        pages.gateway.call(&caller, wish).await
    };
    match outcome.await {
        Ok(created) => {
            let id = created.permission_set.permission_set_arn.rsplit('/').next().unwrap_or_default().to_owned();
            Ok(Redirect::to(&format!("/admin/permission-sets/{id}")).into_response())
        }
        Err(error) => sets_page(&pages, &browser, None, form, beside(error)?).await,
    }
}

#[derive(Template)]
#[template(path = "admin/permission_set.html")]
struct PermissionSetPage {
    frame: Frame,
    id: String,
    set: PermissionSetDetail,
    hours: String,
    inline: String,
    findings: Vec<FindingLine>,
    managed: Vec<(String, String)>,
    /// Managed policies that are not on it: ARN and name.
    offered: Vec<(String, String)>,
    assignments: Vec<AssignmentLine>,
    assignment_count: usize,
    next: Option<String>,
    form: SetForm,
    groups: Vec<String>,
    sources: Vec<(String, String)>,
    claim_keys: Vec<String>,
    accounts: Vec<(String, String)>,
    units: Vec<(String, String)>,
    may_change: May,
    may_assign: May,
    said: &'static str,
    problem: String,
}

/// One assignment, for a page.
struct AssignmentLine {
    who: String,
    how: String,
    place: String,
    /// As it is sent back.
    principal: String,
    target: String,
}

/// The forms of the page, kept as they were sent.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct SetForm {
    #[serde(rename = "do")]
    wanted: String,
    description: String,
    hours: String,
    policy_document: String,
    managed: String,
    who: String,
    group: String,
    person: String,
    source: String,
    key: String,
    value: String,
    place: String,
    account: String,
    unit: String,
    tag: String,
    principal: String,
    target: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Shown {
    saved: bool,
    marker: Option<String>,
}

pub(super) async fn show(
    State(pages): State<Pages>,
    browser: Browser,
    Path(id): Path<String>,
    Query(shown): Query<Shown>,
) -> Page {
    page(&pages, &browser, id, shown, SetForm::default(), String::new()).await
}

async fn page(pages: &Pages, browser: &Browser, id: String, shown: Shown, form: SetForm, problem: String) -> Page {
    let (caller, console) = browser.console(pages).await?;
    let snapshot = pages.gateway.snapshot();
    let (instance_arn, arn) = (instance_arn(&snapshot)?, permission_set_arn(&snapshot, &id)?);
    let describe = DescribePermissionSet { instance_arn: instance_arn.clone(), permission_set_arn: arn.clone() };
    let set = pages.gateway.call(&caller, describe).await?.permission_set;
    let wish = GetInlinePolicyForPermissionSet { instance_arn: instance_arn.clone(), permission_set_arn: arn.clone() };
    let stored = pages.gateway.call(&caller, wish).await.map(|answer| pretty(&answer.inline_policy)).unwrap_or_default();
    let inline = if form.policy_document.is_empty() { stored } else { form.policy_document.clone() };
    let wish = ListManagedPoliciesInPermissionSet {
        instance_arn: instance_arn.clone(),
        permission_set_arn: arn.clone(),
        max_results: None,
        next_token: None,
    };
    let managed = pages.gateway.call(&caller, wish).await.map(|list| list.attached_managed_policies).unwrap_or_default();
    let managed: Vec<(String, String)> = managed.into_iter().map(|policy| (policy.arn, policy.name)).collect();
    let wish = ListAssignments { permission_set: Some(id.clone()), marker: shown.marker };
    let found = pages.gateway.call(&caller, wish).await?;
    let mut assignments = Vec::new();
    for one in found.assignments {
        assignments.push(line(pages, &caller, &snapshot, &one).await?);
    }
    let groups = pages.gateway.call(&caller, SearchGroups::default()).await.map(|found| found.groups).unwrap_or_default();
    // The tree, for who may see it.
    let (mut accounts, mut units) = (Vec::new(), Vec::new());
    if May::call(pages, &caller, &SearchAccounts::default()).await?.allowed {
        accounts.extend(snapshot.accounts.values().take(500).map(|one| (one.id.to_string(), one.name.clone())));
        units.extend(snapshot.units.values().map(|unit| (unit.id.clone(), unit.name.clone())));
    }
    let change = UpdatePermissionSet { instance_arn, permission_set_arn: arn.clone(), description: None, session_duration: None };
    let assign = SetAssignment {
        permission_set_arn: arn,
        principal: AssignmentPrincipal::Group(String::new()),
        target: AssignmentTarget::Unit(String::new()),
        assigned: true,
    };
    let offered = aws_managed::names().filter(|(arn, _)| !managed.iter().any(|(known, _)| known == arn));
    let account = &console.session.account;
    Ok(render(&PermissionSetPage {
        frame: frame(pages, &console, "permission-sets"),
        hours: if form.hours.is_empty() {
            set.session_duration.trim_matches(char::is_alphabetic).to_owned()
        } else {
            form.hours.clone()
        },
        findings: match inline.is_empty() {
            true => Vec::new(),
            false => findings(pages, &caller, PolicyType::IdentityPolicy, &inline).await?,
        },
        inline,
        offered: offered.map(|(arn, name)| (arn.to_owned(), name.to_owned())).collect(),
        managed,
        assignments,
        assignment_count: found.count,
        next: found.marker,
        form,
        groups,
        sources: snapshot.identity_sources().map(|source| (source.name.to_string(), source.label.clone())).collect(),
        claim_keys: claim_keys(&snapshot, account),
        accounts,
        units,
        may_change: May::call(pages, &caller, &change).await?,
        may_assign: May::call(pages, &caller, &assign).await?,
        said: if shown.saved { "Saved. It decides from now on." } else { "" },
        set,
        id,
        problem,
    }))
}

async fn line(pages: &Pages, caller: &Caller, snapshot: &Snapshot, one: &AccountAssignment) -> Result<AssignmentLine, PageError> {
    let text = |value: Result<String, serde_json::Error>| value.map_err(Error::internal);
    let (who, how) = match &one.principal {
        AssignmentPrincipal::Group(id) => (named(pages, caller, id).await, "group".to_owned()),
        AssignmentPrincipal::User(id) => (named(pages, caller, id).await, "person".to_owned()),
        AssignmentPrincipal::Claim { source, key, value } => {
            let label = snapshot.identity_source(source.as_str()).map_or_else(|| source.to_string(), |known| known.label.clone());
            (value.clone(), format!("{key}, says {label}"))
        }
    };
    let place = match &one.target {
        AssignmentTarget::Account(id) => format!("account {}", snapshot.name_of_target(id.as_str())),
        AssignmentTarget::Unit(id) if snapshot.units.contains_key(id) => {
            format!("every account below {}", snapshot.name_of_target(id))
        }
        AssignmentTarget::Unit(_) => "every account".to_owned(),
        AssignmentTarget::Tag { key, value } => format!("every account with {key} = {value}"),
    };
    Ok(AssignmentLine {
        who,
        how,
        place,
        principal: text(serde_json::to_string(&one.principal))?,
        target: text(serde_json::to_string(&one.target))?,
    })
}

/// What somebody or a group of the directory is called; the id where the role may not know.
async fn named(pages: &Pages, caller: &Caller, id: &str) -> String {
    let wish = NameOf { id: id.to_owned() };
    pages.gateway.call(caller, wish).await.map_or_else(|_| id.to_owned(), |found| found.name)
}

pub(super) async fn change(
    State(pages): State<Pages>,
    browser: Browser,
    Path(id): Path<String>,
    Form(form): Form<SetForm>,
) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    match carry_out(&pages, &caller, &id, &form).await {
        Ok(true) => Ok(Redirect::to("/admin/permission-sets").into_response()),
        Ok(false) => Ok(Redirect::to(&format!("/admin/permission-sets/{id}?saved=true")).into_response()),
        Err(error) => {
            let problem = match error.kind {
                ErrorKind::MalformedPolicy | ErrorKind::PolicyTooLarge | ErrorKind::DeleteConflict | ErrorKind::LimitExceeded => {
                    error.public
                }
                _ => beside(error)?,
            };
            page(&pages, &browser, id, Shown::default(), form, problem).await
        }
    }
}

/// Whether it is gone.
async fn carry_out(pages: &Pages, caller: &Caller, id: &str, form: &SetForm) -> Result<bool, Error> {
    let snapshot = pages.gateway.snapshot();
    let (instance_arn, permission_set_arn) = (instance_arn(&snapshot)?, permission_set_arn(&snapshot, id)?);
    let managed = || Arn::parse(&form.managed);
    match form.wanted.as_str() {
        "delete" => {
            pages.gateway.call(caller, DeletePermissionSet { instance_arn, permission_set_arn }).await?;
            return Ok(true);
        }
        "policy" if form.policy_document.trim().is_empty() => {
            pages.gateway.call(caller, DeleteInlinePolicyFromPermissionSet { instance_arn, permission_set_arn }).await?;
        }
        "policy" => {
            let inline_policy = form.policy_document.clone();
            let wish = PutInlinePolicyToPermissionSet { instance_arn, permission_set_arn, inline_policy };
            pages.gateway.call(caller, wish).await?;
        }
        "attach" => {
            let managed_policy_arn = managed()?;
            let wish = AttachManagedPolicyToPermissionSet { instance_arn, permission_set_arn, managed_policy_arn };
            pages.gateway.call(caller, wish).await?;
        }
        "detach" => {
            let managed_policy_arn = managed()?;
            let wish = DetachManagedPolicyFromPermissionSet { instance_arn, permission_set_arn, managed_policy_arn };
            pages.gateway.call(caller, wish).await?;
        }
        "unassign" => {
            let unreadable = |_| Error::invalid("This is no assignment.");
            let principal = serde_json::from_str(&form.principal).map_err(unreadable)?;
            let target = serde_json::from_str(&form.target).map_err(unreadable)?;
            pages.gateway.call(caller, SetAssignment { permission_set_arn, principal, target, assigned: false }).await?;
        }
        "assign" => {
            let (principal, target) = (principal(pages, caller, form).await?, target(&snapshot, form)?);
            pages.gateway.call(caller, SetAssignment { permission_set_arn, principal, target, assigned: true }).await?;
        }
        _ => {
            let (description, session_duration) = (Some(form.description.clone()), Some(duration(&form.hours)?));
            let wish = UpdatePermissionSet { instance_arn, permission_set_arn, description, session_duration };
            pages.gateway.call(caller, wish).await?;
        }
    }
    Ok(false)
}

async fn principal(pages: &Pages, caller: &Caller, form: &SetForm) -> Result<AssignmentPrincipal, Error> {
    let find = |name: String, group| FindByName { name, group };
    Ok(match form.who.as_str() {
        "claim" => AssignmentPrincipal::Claim {
            source: ProviderName::parse(&form.source)?,
            key: form.key.trim().to_owned(),
            value: form.value.trim().to_owned(),
        },
        "person" => AssignmentPrincipal::User(pages.gateway.call(caller, find(form.person.trim().to_owned(), false)).await?.id),
        _ => AssignmentPrincipal::Group(pages.gateway.call(caller, find(form.group.trim().to_owned(), true)).await?.id),
    })
}

fn target(snapshot: &Snapshot, form: &SetForm) -> Result<AssignmentTarget, Error> {
    Ok(match form.place.as_str() {
        "tag" => {
            let (key, value) = form.tag.split_once('=').ok_or_else(|| Error::invalid("Write the tag as key = value."))?;
            AssignmentTarget::Tag { key: key.trim().to_owned(), value: value.trim().to_owned() }
        }
        "unit" if form.unit.is_empty() => AssignmentTarget::Unit(snapshot.root_id()),
        "unit" => AssignmentTarget::Unit(form.unit.clone()),
        _ => AssignmentTarget::Account(AccountId::parse(&form.account)?),
    })
}
