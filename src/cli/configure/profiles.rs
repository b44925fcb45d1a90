//! The part of `~/.aws/config` that leads to a broker: its session, its services, and a profile for every role.

use crate::cli::{exec::SERVICES, role::AvailableRole};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// A region that AWS has not: a client that loses its endpoint reaches nobody, and leaks nothing.
pub(crate) const SSO_REGION: &str = "daypass-1";

/// What profiles say.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// Name of the session and of the services.
    pub(super) session: String,
    /// Address of the broker.
    pub(super) url: String,
    /// Name of each profile, with `{account}`, `{account_name}`, `{role}` and `{session}`.
    pub(super) template: String,
    /// `region` of each profile.
    pub(super) region: String,
    /// `ca_bundle` of each profile.
    pub(super) ca_bundle: Option<String>,
    /// The command for `credential_process`, in place of the AWS CLI's own sign-in.
    pub(super) process: Option<String>,
}

impl Wish {
    /// Stands for the broker in profiles. The AWS CLI takes https, and a name of AWS's own without asking it anything.
    pub(super) fn start_url(&self) -> String {
        if self.url.starts_with("https://") {
            return format!("{}/start", self.url);
        }
        format!("https://{}.awsapps.com/start", word(&self.session).to_lowercase())
    }

    /// The part, and which profiles it leaves out since somebody else's have their names.
    pub(super) fn part(&self, roles: &[AvailableRole], taken: &BTreeSet<String>) -> (String, Vec<String>) {
        let (session, url) = (&self.session, &self.url);
        let mut part = String::new();
        let mut line = |text: &str| part.push_str(&format!("{text}\n"));
        line(&format!("[sso-session {session}]"));
        line(&format!("sso_start_url = {}", self.start_url()));
        line(&format!("sso_region = {SSO_REGION}"));
        line("sso_registration_scopes = sso:account:access");
        line(&format!("\n[services {session}]"));
        for service in SERVICES {
            line(&format!("{service} =\n  endpoint_url = {url}"));
        }
        let mut left_out = Vec::new();
        for (name, role) in self.named(roles) {
            let section = section(&name);
            if taken.contains(&section) {
                left_out.push(name);
                continue;
            }
            let _ = write!(part, "\n[{section}]\n");
            match &self.process {
                Some(command) => {
                    let _ = writeln!(part, "credential_process = {command} --account {} --role {}", role.account, role.role);
                }
                None => {
                    let _ = write!(
                        part,
                        "sso_session = {session}\nsso_account_id = {}\nsso_role_name = {}\n",
                        role.account, role.role
                    );
                }
            }
            let _ = write!(part, "region = {}\nservices = {session}\n", self.region);
            if let Some(bundle) = &self.ca_bundle {
                let _ = writeln!(part, "ca_bundle = {bundle}");
            }
        }
        (part, left_out)
    }

    /// Roles by the names of their profiles. Where a name would stand for several, each of them gets what tells them apart:
    /// none of them changes when the others come or go in another order.
    fn named<'r>(&self, roles: &'r [AvailableRole]) -> Vec<(String, &'r AvailableRole)> {
        let short = |role: &AvailableRole| {
            let filled = self.template.replace("{account_name}", &word(&role.account_name)).replace("{account}", &role.account);
            filled.replace("{role}", &word(&role.role)).replace("{session}", &self.session)
        };
        // An account's id and a role's name, as it is written, are enough.
        let long = |role: &AvailableRole| {
            let missing = |place: &str, value: &str| {
                if self.template.contains(place) { String::new() } else { format!("-{value}") }
            };
            format!("{}{}{}", short(role), missing("{account}", &role.account), missing("{role}", &word(&role.role)))
        };
        let longest = |role: &AvailableRole| format!("{}-{}", role.account, role.role);
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        for name in roles.iter().flat_map(|role| BTreeSet::from([short(role), long(role)])) {
            *count.entry(name.to_lowercase()).or_default() += 1;
        }
        let alone = |name: &String| count.get(&name.to_lowercase()).is_none_or(|count| *count < 2);
        let unique = |role: &AvailableRole| {
            let names = [short(role), long(role)];
            names.into_iter().find(alone).unwrap_or_else(|| longest(role))
        };
        let mut named: Vec<_> = roles.iter().map(|role| (unique(role), role)).collect();
        named.sort();
        named
    }
}

/// Letters that a profile's name can have without quotes.
fn word(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_ascii_alphanumeric() || "_.@+=,".contains(c) { c } else { '-' }).collect();
    let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
    words.join("-")
}

/// How a profile's section is called.
pub(super) fn section(profile: &str) -> String {
    if profile == "default" { "default".to_owned() } else { format!("profile {profile}") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that can't go on should stop")]
mod tests {
    use super::*;
    use crate::cli::configure::aws_config::sections;

    fn wish(template: &str) -> Wish {
        Wish {
            session: "corp".to_owned(),
            url: "http://127.0.0.1:8080".to_owned(),
            template: template.to_owned(),
            region: "us-east-1".to_owned(),
            ca_bundle: None,
            process: None,
        }
    }

    fn role(account: &str, account_name: &str, role: &str) -> AvailableRole {
        AvailableRole { account: account.to_owned(), account_name: account_name.to_owned(), role: role.to_owned() }
    }

    #[test]
    fn names_are_stable_and_nobody_elses() {
        let roles = [
            role("111122223333", "Prod (EU)", "Admin"),
            role("222233334444", "Prod EU", "Admin"),
            role("333344445555", "Sandbox", "Read Only"),
        ];
        let mut turned = roles.clone();
        turned.reverse();
        let wish = wish("{account_name}-{role}");
        let (part, left_out) = wish.part(&roles, &BTreeSet::from(["profile Sandbox-Read-Only".to_owned()]));
        assert_eq!(wish.part(&turned, &BTreeSet::from(["profile Sandbox-Read-Only".to_owned()])).0, part);
        assert_eq!(left_out, ["Sandbox-Read-Only"]);
        let names: Vec<String> = sections(&part).into_iter().map(|section| section.name).collect();
        let expected =
            ["sso-session corp", "services corp", "profile Prod-EU-Admin-111122223333", "profile Prod-EU-Admin-222233334444"];
        assert_eq!(names, expected);
    }

    #[test]
    fn the_start_url_is_one_that_the_aws_cli_takes() {
        assert_eq!(wish("").start_url(), "https://corp.awsapps.com/start");
        let https = Wish { url: "https://daypass.example".to_owned(), ..wish("") };
        assert_eq!(https.start_url(), "https://daypass.example/start");
    }
}
