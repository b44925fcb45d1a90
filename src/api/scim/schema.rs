//! What is kept of people and groups, as clients may read it up (RFC 7643, sections 4 and 7). Readers, filters and patches
//! all go by these tables: an attribute that is not here does not exist.

use crate::domain::directory::ENTERPRISE_USER;
use serde_json::{Map, Value, json};

/// Name of the schema of people.
pub(super) const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// Name of the schema of groups.
pub(super) const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

/// One attribute (RFC 7643, section 7).
#[derive(Debug)]
pub(super) struct Attribute {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) multi: bool,
    /// Whether comparisons see letter case.
    pub(super) exact: bool,
    pub(super) mutability: Mutability,
    required: bool,
    unique: bool,
    canonical: &'static [&'static str],
    description: &'static str,
}

/// Its type.
#[derive(Debug)]
pub(super) enum Kind {
    Text,
    Flag,
    Instant,
    Reference(&'static [&'static str]),
    Complex(&'static [Attribute]),
}

/// Who may write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutability {
    ReadWrite,
    ReadOnly,
    Immutable,
}

impl Attribute {
    const fn new(name: &'static str, kind: Kind, description: &'static str) -> Self {
        Self {
            name,
            kind,
            multi: false,
            exact: false,
            mutability: Mutability::ReadWrite,
            required: false,
            unique: false,
            canonical: &[],
            description,
        }
    }
    const fn text(name: &'static str, description: &'static str) -> Self {
        Self::new(name, Kind::Text, description)
    }
    const fn multi(mut self) -> Self {
        self.multi = true;
        self
    }
    const fn exact(mut self) -> Self {
        self.exact = true;
        self
    }
    const fn required(mut self) -> Self {
        self.required = true;
        self
    }
    const fn unique(mut self) -> Self {
        self.unique = true;
        self
    }
    const fn read_only(mut self) -> Self {
        self.mutability = Mutability::ReadOnly;
        self
    }
    const fn immutable(mut self) -> Self {
        self.mutability = Mutability::Immutable;
        self
    }
    const fn one_of(mut self, canonical: &'static [&'static str]) -> Self {
        self.canonical = canonical;
        self
    }

    /// Attributes below this one.
    pub(super) const fn below(&self) -> &'static [Self] {
        match self.kind {
            Kind::Complex(below) => below,
            Kind::Text | Kind::Flag | Kind::Instant | Kind::Reference(_) => &[],
        }
    }

    fn describe(&self) -> Value {
        let mut text = Map::new();
        let mut set = |name: &str, value: Value| text.insert(name.to_owned(), value);
        set("name", self.name.into());
        let kind = match &self.kind {
            Kind::Text => "string",
            Kind::Flag => "boolean",
            Kind::Instant => "dateTime",
            Kind::Reference(_) => "reference",
            Kind::Complex(_) => "complex",
        };
        set("type", kind.into());
        set("multiValued", self.multi.into());
        set("description", self.description.into());
        set("required", self.required.into());
        if matches!(self.kind, Kind::Text | Kind::Reference(_)) {
            set("caseExact", self.exact.into());
        }
        let mutability = match self.mutability {
            Mutability::ReadWrite => "readWrite",
            Mutability::ReadOnly => "readOnly",
            Mutability::Immutable => "immutable",
        };
        set("mutability", mutability.into());
        set("returned", "default".into());
        if !matches!(self.kind, Kind::Flag | Kind::Complex(_)) {
            set("uniqueness", if self.unique { "server" } else { "none" }.into());
        }
        if !self.canonical.is_empty() {
            set("canonicalValues", self.canonical.into());
        }
        match &self.kind {
            Kind::Reference(types) => set("referenceTypes", (*types).into()),
            Kind::Complex(below) => set("subAttributes", below.iter().map(Self::describe).collect()),
            Kind::Text | Kind::Flag | Kind::Instant => None,
        };
        text.into()
    }
}

/// Finds an attribute by name; names have no case (RFC 7643, section 2.1).
pub(super) fn find<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a Attribute> {
    attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name))
}

/// A kind of resource.
#[derive(Debug)]
pub(super) struct ResourceType {
    /// `User` or `Group`.
    pub(super) name: &'static str,
    /// Below the base address.
    pub(super) endpoint: &'static str,
    /// Its schema.
    pub(super) schema: &'static str,
    pub(super) attributes: &'static [Attribute],
    /// What can be added to it.
    pub(super) extension: Option<(&'static str, &'static [Attribute])>,
    description: &'static str,
}

/// People.
pub(super) static PEOPLE: ResourceType = ResourceType {
    name: "User",
    endpoint: "Users",
    schema: USER,
    attributes: USER_ATTRIBUTES,
    extension: Some((ENTERPRISE_USER, ENTERPRISE_ATTRIBUTES)),
    description: "Somebody in the directory",
};

/// Groups.
pub(super) static GROUPS: ResourceType = ResourceType {
    name: "Group",
    endpoint: "Groups",
    schema: GROUP,
    attributes: GROUP_ATTRIBUTES,
    extension: None,
    description: "A group of people of the directory",
};

/// Every kind.
pub(super) static RESOURCE_TYPES: &[&ResourceType] = &[&PEOPLE, &GROUPS];

/// What every resource has (RFC 7643, section 3.1).
pub(super) static COMMON: &[Attribute] = &[
    Attribute::text("id", "Ours").exact().read_only(),
    Attribute::text("externalId", "The client's").exact(),
    Attribute::new("meta", Kind::Complex(META), "About the resource").read_only(),
];

static META: &[Attribute] = &[
    Attribute::text("resourceType", "Its kind").exact().read_only(),
    Attribute::new("created", Kind::Instant, "When it was made").read_only(),
    Attribute::new("lastModified", Kind::Instant, "When it was last changed").read_only(),
    Attribute::new("location", Kind::Reference(&["uri"]), "Its address").exact().read_only(),
    Attribute::text("version", "Its entity tag").exact().read_only(),
];

const PRIMARY: Attribute = Attribute::new("primary", Kind::Flag, "Whether it is the preferred one: at most one is");
const DISPLAY: Attribute = Attribute::text("display", "For display");
const KIND: Attribute = Attribute::text("type", "What it is for");
const VALUE: Attribute = Attribute::text("value", "Itself");

static USER_ATTRIBUTES: &[Attribute] = &[
    Attribute::text("userName", "What the person signs in with: 1 to 128 characters, no spaces").required().unique(),
    Attribute::new("name", Kind::Complex(NAME), "The parts of the person's name"),
    Attribute::text("displayName", "For display, and directory:name in trust policies; made of the name where it is missing"),
    Attribute::text("nickName", "What friends call the person"),
    Attribute::new("profileUrl", Kind::Reference(&["external"]), "A page about the person").exact(),
    Attribute::text("title", "directory:title in trust policies"),
    Attribute::text("userType", "directory:user_type in trust policies"),
    Attribute::text("preferredLanguage", "A language tag"),
    Attribute::text("locale", "A language tag"),
    Attribute::text("timezone", "A name of the time zone database"),
    Attribute::new("active", Kind::Flag, "Who is not can't sign in, and holds nothing any more"),
    Attribute::new("emails", Kind::Complex(EMAILS), "The primary one, else the first, is directory:email in trust policies")
        .multi(),
    Attribute::new("phoneNumbers", Kind::Complex(PHONE_NUMBERS), "Telephone numbers").multi(),
    Attribute::new("ims", Kind::Complex(IMS), "Addresses of messengers").multi(),
    Attribute::new("photos", Kind::Complex(PHOTOS), "Addresses of pictures").multi(),
    Attribute::new("addresses", Kind::Complex(ADDRESSES), "Where the person gets mail").multi(),
    Attribute::new("groups", Kind::Complex(GROUPS_OF_USER), "Kept at the groups").multi().read_only(),
    Attribute::new("entitlements", Kind::Complex(VALUES), "Kept, and used for nothing").multi(),
    Attribute::new("roles", Kind::Complex(VALUES), "Kept, and used for nothing: groups open roles").multi(),
];

static NAME: &[Attribute] = &[
    Attribute::text("formatted", "The whole name"),
    Attribute::text("familyName", "Last name"),
    Attribute::text("givenName", "First name"),
    Attribute::text("middleName", "What is between"),
    Attribute::text("honorificPrefix", "Before the name"),
    Attribute::text("honorificSuffix", "After the name"),
];

static EMAILS: &[Attribute] = &[VALUE, DISPLAY, KIND.one_of(&["work", "home", "other"]), PRIMARY];
static PHONE_NUMBERS: &[Attribute] =
    &[VALUE, DISPLAY, KIND.one_of(&["work", "home", "mobile", "fax", "pager", "other"]), PRIMARY];
static IMS: &[Attribute] = &[VALUE, DISPLAY, KIND, PRIMARY];
static PHOTOS: &[Attribute] = &[
    Attribute::new("value", Kind::Reference(&["external"]), "Itself").exact(),
    DISPLAY,
    KIND.one_of(&["photo", "thumbnail"]),
    PRIMARY,
];
static VALUES: &[Attribute] = &[VALUE, DISPLAY, KIND, PRIMARY];

static ADDRESSES: &[Attribute] = &[
    Attribute::text("formatted", "The whole address"),
    Attribute::text("streetAddress", "Street and number"),
    Attribute::text("locality", "Town"),
    Attribute::text("region", "State or region"),
    Attribute::text("postalCode", "Postal code"),
    Attribute::text("country", "Two letters (ISO 3166-1)"),
    KIND.one_of(&["work", "home", "other"]),
    PRIMARY,
];

static GROUPS_OF_USER: &[Attribute] = &[
    Attribute::text("value", "The group's id").exact().read_only(),
    Attribute::new("$ref", Kind::Reference(&["Group"]), "The group's address").exact().read_only(),
    Attribute::text("display", "The group's name").read_only(),
    Attribute::text("type", "Always direct").one_of(&["direct"]).read_only(),
];

static ENTERPRISE_ATTRIBUTES: &[Attribute] = &[
    Attribute::text("employeeNumber", "directory:employee_number in trust policies"),
    Attribute::text("costCenter", "directory:cost_center in trust policies"),
    Attribute::text("organization", "directory:organization in trust policies"),
    Attribute::text("division", "directory:division in trust policies"),
    Attribute::text("department", "directory:department in trust policies"),
    Attribute::new("manager", Kind::Complex(MANAGER), "Whom the person reports to"),
];

static MANAGER: &[Attribute] = &[
    Attribute::text("value", "The manager's id").exact(),
    Attribute::new("$ref", Kind::Reference(&["User"]), "The manager's address").exact(),
    Attribute::text("displayName", "The manager's name"),
];

static GROUP_ATTRIBUTES: &[Attribute] = &[
    Attribute::text("displayName", "directory:groups in trust policies; 1 to 128 characters").required().unique(),
    MEMBERS_OF_GROUP,
];

/// Who is in a group.
pub(super) const MEMBERS_OF_GROUP: Attribute =
    Attribute::new("members", Kind::Complex(MEMBERS), "Who is in it: people, no groups").multi();

static MEMBERS: &[Attribute] = &[
    Attribute::text("value", "The person's id").exact().immutable(),
    Attribute::new("$ref", Kind::Reference(&["User"]), "The person's address").exact().immutable(),
    Attribute::text("type", "Always User").one_of(&["User"]).immutable(),
];

/// The schemas (RFC 7643, section 7), with the addresses that they are at.
pub(super) fn schemas(base: &str) -> Vec<Value> {
    let of = |id: &str, name: &str, description: &str, attributes: &[Attribute]| {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": id,
            "name": name,
            "description": description,
            "attributes": attributes.iter().map(Attribute::describe).collect::<Vec<_>>(),
            "meta": { "resourceType": "Schema", "location": format!("{base}/Schemas/{id}") },
        })
    };
    vec![
        of(USER, "User", PEOPLE.description, USER_ATTRIBUTES),
        of(ENTERPRISE_USER, "EnterpriseUser", "What companies add to it", ENTERPRISE_ATTRIBUTES),
        of(GROUP, "Group", GROUPS.description, GROUP_ATTRIBUTES),
    ]
}

/// The kinds of resource (RFC 7643, section 6).
pub(super) fn resource_types(base: &str) -> Vec<Value> {
    let of = |kind: &&ResourceType| {
        let extensions = kind.extension.iter().map(|(schema, _)| json!({ "schema": schema, "required": false }));
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": kind.name,
            "name": kind.name,
            "endpoint": format!("/{}", kind.endpoint),
            "description": kind.description,
            "schema": kind.schema,
            "schemaExtensions": extensions.collect::<Vec<_>>(),
            "meta": { "resourceType": "ResourceType", "location": format!("{base}/ResourceTypes/{}", kind.name) },
        })
    };
    RESOURCE_TYPES.iter().map(of).collect()
}
