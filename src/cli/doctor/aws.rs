//! What the AWS CLI's own files say: profiles, the CLI itself, its tokens.

use super::Finding;
use crate::{
    cli::{
        configure::{
            aws_config::Section,
            models::{cli_version, needs_models},
            profiles::SSO_REGION,
        },
        home::user_home,
        login::now,
    },
    domain::Timestamp,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// 9. Profiles that lead to another broker, or to AWS.
pub(super) fn profiles(file: &Path, config: &[Section], url: &str) -> Finding {
    let shown = file.display();
    let session = |section: &&Section| section.name.starts_with("sso-session ");
    let ours: Vec<&Section> = config.iter().filter(|section| section.name.starts_with("services ")).collect();
    let leads = |section: &Section| section.value("sso.endpoint_url").map(|address| address.trim_end_matches('/').to_owned());
    if config.iter().find(session).is_none() && !config.iter().any(|section| section.value("credential_process").is_some()) {
        return Finding::warning("profiles", format!("{shown} has none for the broker"), "run: daypass configure");
    }
    if !ours.is_empty() && ours.iter().all(|section| leads(section).is_some_and(|address| address != url)) {
        let (section, address) =
            (ours.first().map(|section| section.name.clone()), ours.first().and_then(|section| leads(section)));
        return Finding::problem(
            "profiles",
            format!("{shown}: [{}] leads to {}, not to {url}", section.unwrap_or_default(), address.unwrap_or_default()),
            "daypass configure --session NAME for another broker; if it has moved, --remove first",
        );
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = config.iter().find(|section| !seen.insert(&section.name)) {
        return Finding::problem(
            "profiles",
            format!("{shown}: [{}] stands there twice (line {}), which the AWS CLI does not read", twice.name, twice.line),
            "remove one of them",
        );
    }
    // Sessions of AWS itself are none of ours.
    let sessions: Vec<String> = config
        .iter()
        .filter(|section| section.value("sso_region").is_some_and(|region| region.starts_with(SSO_REGION)))
        .filter_map(|section| section.name.strip_prefix("sso-session ").map(str::to_owned))
        .collect();
    let single = |section: &&Section| section.value("sso_session").is_some_and(|name| sessions.iter().any(|known| known == name));
    if let Some(lost) = config
        .iter()
        .filter(single)
        .find(|section| section.value("services").is_none() && section.value("endpoint_url").is_none())
    {
        return Finding::problem(
            "profiles",
            format!("{shown}: [{}] (line {}) has a session and no `services`: it calls AWS", lost.name, lost.line),
            "add `services = NAME`, or run: daypass configure",
        );
    }
    Finding::ok("profiles", format!("{} in {shown} take a session of the broker", config.iter().filter(single).count()))
}

/// 10. A CLI that is too old to be told where the broker is.
pub(super) fn cli(config: &[Section]) -> Finding {
    let Some(version) = cli_version() else {
        return Finding::warning(
            "AWS CLI",
            "there is none on the path",
            "not needed for daypass itself; `daypass exec` works with any SDK",
        );
    };
    let text = format!("{}.{}.{}", version.0, version.1, version.2);
    let has_models = user_home().is_some_and(|home| home.join(".aws/models/sso-oidc").is_dir());
    if needs_models(version)
        && has_models
        && let Some((profile, session, region)) = led_astray(config)
    {
        return Finding::problem(
            "AWS CLI",
            format!("version {text} finds the broker by the region {region} alone, and [{profile}] has another: it calls AWS"),
            format!("run: daypass configure --session {session} --region {region}"),
        );
    }
    match (needs_models(version), has_models) {
        (true, false) => Finding::problem(
            "AWS CLI",
            format!("version {text} knows no endpoints in its configuration"),
            "run: daypass configure (it writes ~/.aws/models), or install 2.13 or newer",
        ),
        _ if version.0 == 1 => Finding::warning(
            "AWS CLI",
            format!("version {text} can't sign in by itself"),
            "use `daypass exec`, or profiles of `daypass configure --credential-process`",
        ),
        _ => Finding::ok("AWS CLI", format!("version {text}")),
    }
}

/// A profile of a broker's session whose region is not the one that leads there; the session, and its region.
fn led_astray(config: &[Section]) -> Option<(&str, &str, &str)> {
    let regions: BTreeMap<&str, &str> = config
        .iter()
        .filter_map(|section| Some((section.name.strip_prefix("sso-session ")?, section.value("sso_region")?)))
        .filter(|(_, region)| region.starts_with(SSO_REGION))
        .collect();
    config.iter().find_map(|section| {
        let session = section.value("sso_session")?;
        let region = regions.get(session)?;
        (section.value("region") != Some(region)).then_some((section.name.as_str(), session, *region))
    })
}

/// And tokens of the AWS CLI that have ended.
pub(super) fn caches(config: &[Section]) -> Finding {
    let folder = user_home().map(|home| home.join(".aws/sso/cache")).unwrap_or_default();
    let starts: Vec<&str> = config.iter().filter_map(|section| section.value("sso_start_url")).collect();
    let mut ended = 0;
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        let token: Option<serde_json::Value> = fs::read(entry.path()).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let Some(token) = token else { continue };
        let text = |name: &str| token.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        let ours = starts.contains(&text("startUrl")) && !text("accessToken").is_empty();
        let over = Timestamp::parse(text("expiresAt")).is_some_and(|end| end <= now());
        ended += usize::from(ours && over && text("refreshToken").is_empty());
    }
    match ended {
        0 => Finding::ok("caches", "no token of its profiles has ended"),
        _ => Finding::warning(
            "caches",
            format!("{ended} tokens in {} have ended", folder.display()),
            "run: aws sso login --profile PROFILE",
        ),
    }
}
