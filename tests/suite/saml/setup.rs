//! Sources made on the page and by setup link.

use super::logout::{sign_in, world};
use crate::{
    idp::{ENTITY_ID, Idp},
    world::{MANAGEMENT, World},
};
use daypass::{
    api::{
        iam::{
            invitation::{
                AcceptInvitation, INVITATION_SECONDS, InviteSource, LookUpInvitation, PreviewInvitedSource, SourceProtocol,
            },
            setup::{CreateSource, DeleteSource, UpdateSourceMapping},
            sources::{ListSources, PreviewSource, Published},
        },
        sso::portal::ListRoleOffers,
    },
    domain::{ErrorKind, Secret, name::ProviderName, session::Principal},
};

fn name(text: &str) -> ProviderName {
    ProviderName::parse(text).unwrap()
}

fn published(metadata: String) -> Published {
    Published::Saml { metadata, url: None }
}

fn create(source: &str, published: Published) -> CreateSource {
    CreateSource { name: name(source), label: String::new(), published, client: None }
}

async fn invite(world: &World, source: &str, protocol: SourceProtocol) -> Secret<String> {
    let wish = InviteSource { name: name(source), label: "Partner".to_owned(), protocol };
    let link = world.root(MANAGEMENT).call(wish).await.unwrap();
    link.url.expose().rsplit('/').next().unwrap().to_owned().into()
}

async fn names(world: &World) -> Vec<String> {
    let found = world.root(MANAGEMENT).call(ListSources {}).await.unwrap();
    found.sources.into_iter().map(|source| source.name).collect()
}

#[tokio::test]
async fn a_source_is_made_of_what_was_previewed() {
    let (idp, world) = (Idp::new(), World::demo().await);
    let root = world.root(MANAGEMENT);
    let preview = root.call(PreviewSource { name: None, text: idp.metadata() }).await.unwrap();
    root.call(create("corp", preview.published.clone())).await.unwrap();
    let found = root.call(ListSources {}).await.unwrap();
    let made = found.sources.iter().find(|source| source.name == "corp").unwrap();
    assert_eq!((made.kind, made.label.as_str()), ("SAML", "corp"), "without a label, the name is on the button");
    assert!(made.facts.iter().any(|(name, value)| name == "Entity ID" && value == ENTITY_ID), "{:?}", made.facts);

    let taken = root.call(create("corp", preview.published.clone())).await.unwrap_err();
    assert_eq!(taken.kind, ErrorKind::AlreadyExists);
    let twice = root.call(create("again", preview.published)).await.unwrap_err();
    assert!(
        twice.kind == ErrorKind::InvalidInput && twice.public.contains("entity"),
        "two sources of one entity: {}",
        twice.public
    );
    let broken = root.call(create("broken", published("<x/>".to_owned()))).await.unwrap_err();
    assert_eq!(broken.kind, ErrorKind::InvalidInput);
    let oidc = Published::Oidc { issuer: "https://login.example.com".to_owned() };
    let error = root.call(create("cloud", oidc)).await.unwrap_err();
    assert!(error.public.contains("client id"), "{}", error.public);
    assert_eq!(names(&world).await, ["corp", "people"]);
}

/// Sources are the organization's: another account's root is no administrator of them.
#[tokio::test]
async fn other_accounts_make_and_change_no_source() {
    let (idp, world) = (Idp::new(), World::demo().await);
    let other = world.root("222233334444");
    let link = InviteSource { name: name("corp"), label: String::new(), protocol: SourceProtocol::Saml };
    let mapping = UpdateSourceMapping { name: name("people"), lines: String::new() };
    let outcomes = [
        other.call(create("corp", published(idp.metadata()))).await,
        other.call(link).await.map(drop),
        other.call(mapping).await,
        other.call(DeleteSource { name: name("people") }).await,
    ];
    for outcome in outcomes {
        assert_eq!(outcome.unwrap_err().kind, ErrorKind::AccessDenied);
    }
    assert_eq!(names(&world).await, ["people"]);
}

#[tokio::test]
async fn a_setup_link_makes_one_source_and_nothing_else() {
    let (idp, world) = (Idp::new(), World::demo().await);
    let token = invite(&world, "partner", SourceProtocol::Saml).await;
    let holder = world.nobody();
    // Looking uses nothing up.
    for _ in 0..2 {
        let shown = holder.call(LookUpInvitation { token: token.clone() }).await.unwrap();
        assert_eq!((shown.label.as_str(), shown.protocol), ("Partner", SourceProtocol::Saml));
        assert!(shown.ours.iter().any(|(_, value)| value.ends_with("/saml/acs")), "{:?}", shown.ours);
    }
    let accept = |digest: String| AcceptInvitation { token: token.clone(), digest, client: None };
    let look = |text: &str| PreviewInvitedSource { token: token.clone(), text: text.to_owned() };
    // What is wrong, or was not looked at, costs nothing.
    assert_eq!(holder.call(look("<x/>")).await.unwrap_err().kind, ErrorKind::InvalidInput);
    let digest = published(idp.metadata()).digest();
    let unseen = holder.call(accept(digest.clone())).await.unwrap_err();
    assert!(unseen.public.contains("once more"), "{}", unseen.public);
    // Nobody learns from it what answers where.
    let closed = holder.call(look("https://127.0.0.1:1/metadata")).await.unwrap_err();
    assert!(closed.public.starts_with("Nothing that can be used was found"), "{}", closed.public);

    assert_eq!(holder.call(look(&idp.metadata())).await.unwrap().published.digest(), digest);
    holder.call(accept(digest.clone())).await.unwrap();
    assert_eq!(names(&world).await, ["partner", "people"]);
    let used = holder.call(accept(digest)).await.unwrap_err();
    assert_eq!(used.kind, ErrorKind::NoSuchEntity);
    assert_eq!(holder.call(LookUpInvitation { token: token.clone() }).await.unwrap_err().kind, ErrorKind::NoSuchEntity);
    // Nor does it come back when the source goes.
    world.root(MANAGEMENT).call(DeleteSource { name: name("partner") }).await.unwrap();
    assert_eq!(holder.call(LookUpInvitation { token }).await.unwrap_err().kind, ErrorKind::NoSuchEntity);
}

#[tokio::test]
async fn a_link_for_another_protocol_is_not_for_this_provider() {
    let (idp, world) = (Idp::new(), World::demo().await);
    let token = invite(&world, "partner", SourceProtocol::Oidc).await;
    let error = world.nobody().call(PreviewInvitedSource { token, text: idp.metadata() }).await.unwrap_err();
    assert!(error.public.contains("OpenID"), "the link was made for OpenID Connect: {}", error.public);
}

#[tokio::test]
async fn a_new_link_replaces_the_one_before() {
    let world = World::demo().await;
    let first = invite(&world, "partner", SourceProtocol::Saml).await;
    let second = invite(&world, "partner", SourceProtocol::Saml).await;
    let look = async |token| world.nobody().call(LookUpInvitation { token }).await.map(drop).map_err(|error| error.kind);
    assert_eq!(look(first).await, Err(ErrorKind::NoSuchEntity));
    assert_eq!(look(second).await, Ok(()));
}

/// What trust policies wait for is not given away: the holder of a link would meet them at once.
#[tokio::test]
async fn no_link_is_made_for_a_name_that_trust_policies_name() {
    let idp = Idp::new();
    let world = world(&idp, "").await;
    world.root(MANAGEMENT).call(DeleteSource { name: name("corp") }).await.unwrap();
    let wish = InviteSource { name: name("corp"), label: String::new(), protocol: SourceProtocol::Saml };
    let error = world.root(MANAGEMENT).call(wish).await.unwrap_err();
    assert!(error.public.contains("role/Admin"), "{}", error.public);
}

#[tokio::test]
async fn a_setup_link_ends_and_is_tried_a_bounded_number_of_times() {
    let (idp, world) = (Idp::new(), World::demo().await);
    let token = invite(&world, "partner", SourceProtocol::Saml).await;
    let look = || PreviewInvitedSource { token: token.clone(), text: idp.metadata() };
    let mut looks = 0;
    let error = loop {
        match world.nobody().call(look()).await {
            Ok(_) => looks += 1,
            Err(error) => break error,
        }
    };
    assert!(looks == 50 && error.public.contains("too often"), "{looks} looks, then {}", error.public);
    let token = invite(&world, "partner", SourceProtocol::Saml).await;
    world.clock.advance(INVITATION_SECONDS);
    assert_eq!(world.nobody().call(LookUpInvitation { token }).await.unwrap_err().kind, ErrorKind::NoSuchEntity);
}

/// Of two who hold the same link, one connects.
#[tokio::test]
async fn of_two_answers_to_one_link_one_wins() {
    let (idp, world) = (Idp::new(), World::demo().await);
    let token = invite(&world, "partner", SourceProtocol::Saml).await;
    let holder = world.nobody();
    holder.call(PreviewInvitedSource { token: token.clone(), text: idp.metadata() }).await.unwrap();
    let accept = || AcceptInvitation { token: token.clone(), digest: published(idp.metadata()).digest(), client: None };
    let (one, other) = tokio::join!(holder.call(accept()), holder.call(accept()));
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
}

#[tokio::test]
async fn a_mapping_in_force_changes_and_a_removed_source_ends_its_sessions() {
    let idp = Idp::new();
    let world = world(&idp, "").await;
    let root = world.root(MANAGEMENT);
    let lines = "[identity_sources.attributes]\nteam = \"groups\"\n";
    root.call(UpdateSourceMapping { name: name("corp"), lines: lines.to_owned() }).await.unwrap();
    let session = sign_in(&idp, &world, "_1").await;
    let claims = &session.identity.claims;
    assert!(claims.contains_key("saml:team") && !claims.contains_key("saml:groups"), "{claims:?}");
    let bad = "[identity_sources.attributes]\nsub = \"groups\"".to_owned();
    let error = root.call(UpdateSourceMapping { name: name("corp"), lines: bad }).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidInput);

    assert!(world.gateway.person(session.clone()).await.is_ok());
    root.call(DeleteSource { name: name("corp") }).await.unwrap();
    assert_eq!(world.gateway.person(session.clone()).await.unwrap_err().kind, ErrorKind::InvalidBearer);
    assert_eq!(root.call(DeleteSource { name: name("corp") }).await.unwrap_err().kind, ErrorKind::NoSuchEntity);
    // A source that comes under the same name vouches for its own people, and revives nobody's session.
    root.call(create("corp", published(idp.metadata()))).await.unwrap();
    let principal = Principal::Person(std::sync::Arc::new(session));
    let error = world.caller(principal).call(ListRoleOffers {}).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidBearer);
}

#[tokio::test]
async fn the_directory_is_not_removed_on_a_page() {
    let world = World::demo().await;
    let error = world.root(MANAGEMENT).call(DeleteSource { name: name("people") }).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidInput);
}
