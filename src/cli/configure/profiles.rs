//! The part of `~/.aws/config` that leads to a broker: its session, its services, and a profile for every role.

use super::aws_config::{Section, sections};
use crate::{
    cli::{
        Failure,
        exec::SERVICES,
        role::{AvailableRole, dashed},
        terminal,
    },
    crypto::sha256_hex,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// How regions of ours begin, which AWS has not: a client that loses its endpoint reaches nobody, and leaks nothing.
pub(crate) const SSO_REGION: &str = "daypass-";

/// The region of a session: each leads to a broker of its own. Where a name can't stand in it as it is, a part of its hash tells
/// it from others like it.
pub(super) fn sso_region(session: &str) -> String {
    let label: String =
        session.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    let label = label.trim_matches('-');
    match session {
        "daypass" => format!("{SSO_REGION}1"),
        _ if label == session => format!("{SSO_REGION}{label}-1"),
        _ => format!("{SSO_REGION}{label}-{}-1", sha256_hex(session).get(..6).unwrap_or_default()).replace("--", "-"),
    }
}

/// What people choose about their profiles. It stands in the first line of ours, for the next time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Options {
    /// Name of each profile, with `{account}`, `{account_name}`, `{role}` and `{session}`.
    pub(super) template: String,
    /// `region` of each profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) region: Option<String>,
    /// `ca_bundle` of each profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ca_bundle: Option<String>,
    /// Whether profiles call `daypass credential-process`.
    pub(super) credential_process: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { template: "{account_name}-{role}".to_owned(), region: None, ca_bundle: None, credential_process: false }
    }
}

impl Options {
    /// How its line begins.
    const LINE: &str = "# options: ";

    pub(super) fn check(&self) -> Result<(), Failure> {
        let mut rest = self.template.clone();
        for name in ["{account}", "{account_name}", "{role}", "{session}"] {
            rest = rest.replace(name, "");
        }
        let plain = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
        // They were read from a file.
        if self.region.as_ref().is_some_and(|region| region.is_empty() || !plain(region, "-_."))
            || self.ca_bundle.iter().any(|file| file.contains(char::is_control))
        {
            return Err(Failure::typed("--region has letters, digits, - _ and . only, and --ca-bundle is a path"));
        }
        if !plain(&rest, "-_.@+=,") || rest == self.template {
            return Err(Failure::typed(format!("--template: `{}` can't name profiles", terminal::harmless(&self.template)))
                .hint(
                    "it has {account}, {account_name}, {role} and {session} in it, and letters, digits, - _ . @ + = , besides",
                ));
        }
        Ok(())
    }
}

/// What stands there from the last time.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    pub(super) options: Option<Options>,
    /// Names of profiles, by account and role.
    names: BTreeMap<(String, String), String>,
    /// Address of the broker.
    pub(super) url: Option<String>,
}

impl Written {
    pub(super) fn read(part: &str) -> Self {
        let options =
            part.trim_start().lines().next().and_then(|line| serde_json::from_str(line.strip_prefix(Options::LINE)?).ok());
        let named = |section: Section| {
            let name = section.name.strip_prefix("profile ").unwrap_or(&section.name).to_owned();
            let process = section.value("credential_process").unwrap_or_default();
            let word = |option: &str| process.split(' ').skip_while(|word| *word != option).nth(1).map(str::to_owned);
            let account = section.value("sso_account_id").map(str::to_owned).or_else(|| word("--account"))?;
            let role = section.value("sso_role_name").map(str::to_owned).or_else(|| word("--role"))?;
            Some(((account, role), name))
        };
        // Of any service: all lead to one broker.
        let url = part.lines().find_map(|line| line.trim().strip_prefix("endpoint_url = ")).map(str::to_owned);
        Self { options, names: sections(part).into_iter().filter_map(named).collect(), url }
    }
}

/// What profiles say.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// Name of the session and of the services.
    pub(super) session: String,
    /// Address of the broker.
    pub(super) url: String,
    pub(super) options: Options,
    /// The command for `credential_process`, in place of the AWS CLI's own sign-in.
    pub(super) process: Option<String>,
    /// Whether the AWS CLI finds the broker by its region alone.
    pub(super) by_region: bool,
}

/// The lines between the marks.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) text: String,
    /// Names of the profiles that the AWS CLI signs in.
    pub(super) profiles: Vec<String>,
    /// Profiles that are not there, since somebody else's have their names.
    pub(super) left_out: Vec<String>,
}

impl Wish {
    /// Stands for the broker in profiles. The AWS CLI takes https, and a name of AWS's own without asking it anything.
    pub(super) fn start_url(&self) -> String {
        if self.url.starts_with("https://") {
            return format!("{}/start", self.url);
        }
        format!("https://{}.awsapps.com/start", dashed(&self.session).to_lowercase())
    }

    /// The lines for somebody's roles, beside sections that are taken.
    pub(super) fn part(&self, roles: &[AvailableRole], taken: &BTreeSet<String>, before: &Written) -> Part {
        let (session, url) = (&self.session, &self.url);
        let mut part = format!("{}{}\n", Options::LINE, serde_json::to_string(&self.options).unwrap_or_default());
        let mut line = |text: &str| part.push_str(&format!("{text}\n"));
        line(&format!("[sso-session {session}]"));
        line(&format!("sso_start_url = {}", self.start_url()));
        line(&format!("sso_region = {}", sso_region(session)));
        line("sso_registration_scopes = sso:account:access");
        line(&format!("\n[services {session}]"));
        for service in SERVICES {
            line(&format!("{service} =\n  endpoint_url = {url}"));
        }
        let (mut profiles, mut left_out) = (Vec::new(), Vec::new());
        for (name, role) in self.named(roles, before) {
            let section = section(&name);
            if taken.contains(&section) {
                left_out.push(name);
                continue;
            }
            let _ = write!(part, "\n[{section}]\n");
            match &self.process {
                Some(command) => {
                    let (account, role) = (&role.account, &role.role);
                    let _ = writeln!(part, "credential_process = {command} --url {url} --account {account} --role {role}");
                }
                None => {
                    let _ = write!(
                        part,
                        "sso_session = {session}\nsso_account_id = {}\nsso_role_name = {}\n",
                        role.account, role.role
                    );
                    profiles.push(name);
                }
            }
            let usual = if self.by_region { sso_region(session) } else { "us-east-1".to_owned() };
            let region = self.options.region.as_ref().unwrap_or(&usual);
            let _ = write!(part, "region = {region}\nservices = {session}\n");
            if let Some(bundle) = &self.options.ca_bundle {
                let _ = writeln!(part, "ca_bundle = {bundle}");
            }
        }
        Part { text: part, profiles, left_out }
    }

    /// Roles by the names of their profiles: a profile that is there keeps its name while the template stays. Where a name would
    /// stand for several, each of them gets what tells them apart: none of them changes when the others come or go in another
    /// order.
    fn named<'r>(&self, roles: &'r [AvailableRole], before: &Written) -> Vec<(String, &'r AvailableRole)> {
        let template = &self.options.template;
        let kept = |role: &AvailableRole| {
            let known = before.names.get(&(role.account.clone(), role.role.clone()));
            known.filter(|_| before.options.as_ref().is_some_and(|options| options.template == *template)).cloned()
        };
        let used: BTreeSet<String> = roles.iter().filter_map(kept).map(|name| name.to_lowercase()).collect();
        let short = |role: &AvailableRole| {
            // Of a name in another script nothing may be left.
            let account_name = Some(dashed(&role.account_name)).filter(|name| !name.is_empty());
            let account_name = account_name.unwrap_or_else(|| role.account.clone());
            let filled = template.replace("{account_name}", &account_name).replace("{account}", &role.account);
            let filled = filled.replace("{role}", &dashed(&role.role)).replace("{session}", &self.session);
            filled.trim_start_matches('-').to_owned()
        };
        // An account's id and a role's name, as it is written, are enough.
        let long = |role: &AvailableRole| {
            let missing = |place: &str, value: &str| {
                if template.contains(place) { String::new() } else { format!("-{value}") }
            };
            format!("{}{}{}", short(role), missing("{account}", &role.account), missing("{role}", &dashed(&role.role)))
        };
        let longest = |role: &AvailableRole| format!("{}-{}", role.account, role.role);
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        for name in roles.iter().flat_map(|role| BTreeSet::from([short(role), long(role)])) {
            *count.entry(name.to_lowercase()).or_default() += 1;
        }
        let alone = |name: &String| {
            let name = name.to_lowercase();
            count.get(&name).is_none_or(|count| *count < 2) && !used.contains(&name)
        };
        let unique = |role: &AvailableRole| {
            let names = [short(role), long(role)];
            kept(role).or_else(|| names.into_iter().find(alone)).unwrap_or_else(|| longest(role))
        };
        let mut named: Vec<_> = roles.iter().map(|role| (unique(role), role)).collect();
        named.sort();
        named
    }
}

/// How a profile's section is called.
pub(super) fn section(profile: &str) -> String {
    if profile == "default" { "default".to_owned() } else { format!("profile {profile}") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that can't go on should stop")]
mod tests {
    use super::*;
    fn wish(template: &str) -> Wish {
        Wish {
            session: "corp".to_owned(),
            url: "http://127.0.0.1:8080".to_owned(),
            options: Options { template: template.to_owned(), ..Options::default() },
            process: None,
            by_region: false,
        }
    }

    #[test]
    fn every_session_has_a_region_of_its_own() {
        let sessions = ["daypass", "Daypass", "corp", "Corp", "corp.eu", "corp-eu", "corp_eu", "-", "1"];
        let regions: BTreeSet<String> = sessions.into_iter().map(sso_region).collect();
        assert_eq!(regions.len(), sessions.len(), "{regions:?}");
        assert!(regions.iter().all(|region| region.starts_with(SSO_REGION)
            && region.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')));
        assert_eq!(sso_region("corp"), "daypass-corp-1");
    }

    #[test]
    fn a_cli_that_knows_no_endpoints_finds_the_broker_by_the_region() {
        let roles = [role("111122223333", "Prod", "Admin")];
        let region = |wish: &Wish| {
            let part = wish.part(&roles, &BTreeSet::new(), &Written::default()).text;
            sections(&part).last().unwrap().value("region").unwrap().to_owned()
        };
        let mut wish = Wish { by_region: true, ..wish("{role}") };
        assert_eq!(region(&wish), "daypass-corp-1");
        wish.options.region = Some("eu-west-1".to_owned());
        assert_eq!(region(&wish), "eu-west-1");
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
        let taken = BTreeSet::from(["profile Sandbox-Read-Only".to_owned()]);
        let written = |roles: &[AvailableRole], before: &str| wish.part(roles, &taken, &Written::read(before));
        let names = |part: &str| sections(part).into_iter().skip(2).map(|section| section.name).collect::<Vec<_>>();
        let part = written(&roles, "");
        assert_eq!(written(&turned, "").text, part.text);
        assert_eq!(part.left_out, ["Sandbox-Read-Only"]);
        assert_eq!(names(&part.text), ["profile Prod-EU-Admin-111122223333", "profile Prod-EU-Admin-222233334444"]);
        // Who comes later changes nobody's name; another template changes all.
        let first = written(&roles[..1], "").text;
        assert_eq!(names(&first), ["profile Prod-EU-Admin"]);
        assert_eq!(names(&written(&roles, &first).text), ["profile Prod-EU-Admin", "profile Prod-EU-Admin-222233334444"]);
        let other = Wish { process: Some("daypass credential-process".to_owned()), ..self::wish("{session}-{account}-{role}") };
        let part = other.part(&roles[..1], &taken, &Written::read(&first)).text;
        assert_eq!(names(&part), ["profile corp-111122223333-Admin"]);
        assert_eq!(names(&other.part(&roles[..1], &taken, &Written::read(&part)).text), names(&part));
        assert_eq!(Written::read(&part).options.unwrap(), other.options);
    }

    #[test]
    fn accounts_of_any_script_have_names_that_can_be_typed() {
        let roles = [
            role("111122223333", "Café Zürich", "Admin"),
            role("222233334444", "日本語", "Admin"),
            role("333344445555", "- x", "A"),
        ];
        let part = wish("{account_name}-{role}").part(&roles, &BTreeSet::new(), &Written::default());
        assert_eq!(part.profiles, ["222233334444-Admin", "Cafe-Zurich-Admin", "x-A"]);
    }

    #[test]
    fn a_template_names_what_there_is() {
        for template in ["", "x", "{acount}-{role}", "{role}{", "{role} {account}", "a\nb{role}"] {
            assert!(wish(template).options.check().is_err(), "{template}");
        }
        assert!(wish("aws.{session}_{account}-{role}").options.check().is_ok());
    }

    #[test]
    fn the_start_url_is_one_that_the_aws_cli_takes() {
        assert_eq!(wish("").start_url(), "https://corp.awsapps.com/start");
        let https = Wish { url: "https://daypass.example".to_owned(), ..wish("") };
        assert_eq!(https.start_url(), "https://daypass.example/start");
    }
}
