//! Pages of a large organization: 10,000 accounts, 100,000 assignments of permission sets, 1,000,000 people in the directory, and
//! 2,500 roles in the portal of who looks.
//!
//! `cargo bench --bench pages`. Each list is asked for its first page by one browser session, one after the other; the figure
//! is the median of what the answer took, loopback included, beside `/healthz` in the same run.
#![allow(missing_docs, unreachable_pub, reason = "a program")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench measures with the real clock, and stops when something is wrong"
)]

mod support;

use sqlx::{Connection as _, SqliteConnection};
use std::{collections::BTreeMap, path::Path, process::Command, time::Instant};
use support::*;

const ACCOUNTS: usize = 10_000;
const ASSIGNMENTS: usize = 100_000;
/// Of the person who looks at them.
const OWN_ROLES: usize = 2_500;
const PEOPLE: usize = 1_000_000;
const SETS: usize = 20;
const EVENTS: usize = 200_000;

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let password = first(&data);
    let began = Instant::now();
    fill(&data.join("daypass.sqlite")).await;
    println!(
        "filled in {:.1} s: {ACCOUNTS} accounts, {ASSIGNMENTS} assignments, {PEOPLE} people, {EVENTS} events",
        began.elapsed().as_secs_f64()
    );
    let began = Instant::now();
    let server = broker(&data, free_port());
    let started = began.elapsed().as_secs_f64();
    println!("start until it accepts: {started:.2} s; memory {:.0} MiB", server.memory());

    let mut browser = Browser { port: server.port, cookies: BTreeMap::new() };
    browser.sign_in(&password).await;
    let health = browser.median("/healthz").await;
    println!("\n{:<58} {:>8} {:>8} {:>12}", "first page of", "ms", "kB", "x /healthz");
    browser.report("/portal", health).await;
    browser.post("/portal/console", &[("role", "111122223333/Administrator"), ("destination", "")], "/portal").await;
    let set = "ps-0000000000000003";
    for place in [
        "/admin/roles",
        "/admin/mapping",
        "/admin/mapping?view=matrix",
        "/admin/mapping?text=g-0000007",
        "/admin/try?search=user0500000",
        "/admin/permission-sets",
        &format!("/admin/permission-sets/{set}"),
        "/admin/proposals",
        "/admin/accounts",
        "/admin/accounts?at=ou-xxxx-00000007",
        "/admin/accounts?text=Account%209999",
        "/admin/accounts/400000000042",
        "/admin/guardrails",
        "/admin/sources",
        "/admin/people",
        "/admin/people?text=user0500000",
        "/admin/sign-ins",
        "/admin/sessions",
        "/admin/findings",
        "/admin/refusals",
        "/admin/audit",
        "/admin/audit?event=CreateRole",
        "/admin/audit?text=nobody",
        "/admin/settings",
    ] {
        browser.report(place, health).await;
    }
    println!("\nmemory afterwards: {:.0} MiB", server.memory());
}

/// The demo organization, and the password of its administrator.
fn first(data: &Path) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_daypass"))
        .args(["apply", "config/demo.toml", "--yes", "--new-passwords"])
        .env("DAYPASS_DATA", data)
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    let line = text.lines().find(|line| line.contains("jane@example.com") && line.split_whitespace().count() == 2);
    line.unwrap_or_else(|| panic!("no password in {text}")).split_whitespace().last().unwrap().to_owned()
}

async fn fill(file: &Path) {
    let mut db = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    sqlx::query("PRAGMA synchronous = OFF").execute(&mut db).await.unwrap();
    let numbers = |most: usize| format!("WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {most})");
    let statements = [
        "BEGIN".to_owned(),
        format!("{} INSERT INTO organizational_unit SELECT printf('ou-xxxx-%08d', i), printf('Unit %d', i), '' FROM n", numbers(100)),
        format!(
            "{} INSERT INTO account (id, name, email, parent, tags) SELECT printf('4%011d', i), printf('Account %d', i), '',
             printf('ou-xxxx-%08d', i % 100), '{{\"Environment\":\"test\"}}' FROM n",
            numbers(ACCOUNTS - 3)
        ),
        format!("{} INSERT INTO directory_group (id, name, name_key, version, created, modified, provisioned) SELECT printf('g-%07d', i), printf('g-%07d', i), printf('g-%07d', i), 1, 0, 0, 0 FROM n", numbers(2_000)),
        format!(
            "{} INSERT INTO permission_set SELECT printf('ps-%016d', i), printf('Set%d', i), 'One of many', 14400,
             '{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Effect\":\"Allow\",\"Action\":\"s3:Get*\",\"Resource\":\"*\"}}]}}', '[]', 0 FROM n",
            numbers(SETS)
        ),
        // Ten on each account: five sets, two groups each.
        format!(
            "{} INSERT INTO account_assignment SELECT printf('ps-%016d', (i / 2) % {SETS}), printf('{{\"Group\":\"g-%07d\"}}', i % 2000),
             printf('{{\"Account\":\"4%011d\"}}', i / 10) FROM n",
            numbers(ASSIGNMENTS - OWN_ROLES)
        ),
        format!(
            "{} INSERT INTO account_assignment SELECT printf('ps-%016d', 10 + i % 5),
             json_object('Group', (SELECT id FROM directory_group WHERE name = 'admins')), printf('{{\"Account\":\"4%011d\"}}', i / 5) FROM n",
            numbers(OWN_ROLES)
        ),
        format!(
            "{} INSERT INTO directory_user (id, name, name_key, email, email_key, display_name, profile, created, modified, disabled, provisioned)
             SELECT printf('u-%017d', i), printf('user%07d@example.com', i), printf('user%07d@example.com', i), printf('user%07d@example.com', i),
             printf('user%07d@example.com', i), printf('Person %d', i), '{{}}', 0, 0, 0, 1 FROM n",
            numbers(PEOPLE)
        ),
        format!("{} INSERT INTO directory_member (user_id, group_id) SELECT printf('u-%017d', i), printf('g-%07d', i % 2000) FROM n", numbers(PEOPLE / 4)),
        format!(
            "{} INSERT INTO audit (event_id, time, event_source, event_name, account, principal, source_ip, user_agent, request_id, detail)
             SELECT printf('event-%d', i), 1795521600000 + i, 'sts.amazonaws.com', 'GetRoleCredentials', printf('4%011d', i % 9000), 'somebody', '192.0.2.1', 'bench', '', '{{}}' FROM n",
            numbers(EVENTS)
        ),
        "UPDATE revision SET number = number + 1".to_owned(),
        "COMMIT".to_owned(),
    ];
    for statement in statements {
        sqlx::query(sqlx::AssertSqlSafe(statement.clone()))
            .execute(&mut db)
            .await
            .unwrap_or_else(|error| panic!("{error}: {statement}"));
    }
    db.close().await.unwrap();
}
