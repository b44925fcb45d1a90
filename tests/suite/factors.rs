//! Second factors: at the sign-in, when a role asks, and their own life. Passkeys are driven in a real browser (tests/e2e).

use crate::{
    idp::Idp,
    saml::logout,
    world::{DEMO, MANAGEMENT, Persona, World},
};
use daypass::{
    api::{
        apply::{ApplyOrganization, PlanOrganization},
        directory::UpdateUser,
        signin::{
            Answer, BeginSignIn, CompleteSignIn, SignInOutcome,
            enrolment::{
                BeginEnrolment, CompleteEnrolment, Enrolled, EnrolmentAnswer, ListFactors, ListFactorsOf, RemoveFactor,
                RenewRecoveryCodes, ResetFactors,
            },
            factor::{BoundStep, FactorGiven, GiveFactor, LookUpFactors},
            own_sessions::{EndOwnSession, ListOwnSessions},
        },
        sso::{GetRoleCredentials, ListAccountRoles, portal::ListRoleOffers},
    },
    cli::apply::parse,
    domain::{Clock as _, Error, ErrorKind, Secret, name::AccountId, session::PortalSession, session::Principal},
    federation::{Arrival, Departure},
    signin::{factor::FactorAnswer, step::Continuation},
};
use std::sync::Arc;

/// A role that wants a factor of the last quarter of an hour.
const FRESH_FACTOR: &str = r#"
[[roles]]
account = "111122223333"
name = "Careful"
trust_policy = '''{"Version": "2012-10-17", "Statement": {"Effect": "Allow",
  "Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/directory"}, "Action": "sts:AssumeRoleWithWebIdentity",
  "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}, "NumericLessThan": {"aws:MultiFactorAuthAge": "900"}}}}'''
"#;
const JANE: &str = "jane@example.com";

/// The demo organization with passwords, and what its directory asks for.
async fn demo(settings: &str) -> (World, Secret<String>) {
    let world = World::empty().await;
    let text = DEMO.replace("type = \"directory\"", &format!("type = \"directory\"\n{settings}")) + FRESH_FACTOR;
    let wish = PlanOrganization { file: parse(&text, "toml").unwrap(), prune: false, new_passwords: true };
    let passwords = world.operator().call(ApplyOrganization(wish)).await.unwrap().passwords;
    let password = passwords.into_iter().find(|(name, _)| name.as_str() == JANE).unwrap().1;
    (world, password)
}

async fn sign_in(world: &World, password: &Secret<String>) -> SignInOutcome {
    sign_in_with(world, password, None).await
}

async fn sign_in_with(world: &World, password: &Secret<String>, reset: Option<Secret<String>>) -> SignInOutcome {
    let begin = BeginSignIn { source: "people".to_owned(), continuation: Continuation::Portal, binding: "b".to_owned().into() };
    let handle = world.nobody().call(begin).await.unwrap().handle;
    let arrival = Arrival::Password { user_name: JANE.to_owned(), password: password.clone() };
    let answer = Answer::Direct { handle, arrival };
    let complete = CompleteSignIn { source: None, binding: Some("b".to_owned().into()), answer, reset };
    world.nobody().call(complete).await.unwrap().outcome
}

fn session(outcome: SignInOutcome) -> PortalSession {
    let SignInOutcome::Session(session) = outcome else { panic!("{outcome:?}") };
    *session
}

fn step(outcome: SignInOutcome) -> BoundStep {
    let SignInOutcome::Factor { handle } = outcome else { panic!("{outcome:?}") };
    BoundStep { handle, binding: Some("b".to_owned().into()) }
}

/// The person of a session, with what is known of it now.
async fn person<'w>(world: &'w World, session: &PortalSession) -> Persona<'w> {
    world.caller(world.gateway.person(session.clone()).await.unwrap())
}

/// An authenticator app.
struct App(String);

impl App {
    fn code(&self, world: &World) -> Secret<String> {
        let secret = totp_rs::Secret::try_from_base32(&self.0).unwrap();
        let app = totp_rs::Builder::new().with_secret(secret).build_noncompliant();
        Secret::new(app.generate(u64::try_from(world.clock.now().seconds()).unwrap()).to_string())
    }
}

async fn enrol(caller: &Persona<'_>, world: &World, step: Option<BoundStep>) -> Result<(App, Enrolled), Error> {
    let begun = caller.call(BeginEnrolment { step: step.clone(), totp_handle: None }).await?;
    assert!(begun.passkey.is_none(), "an address without a name has no passkeys");
    assert!(begun.picture.expose().contains("<svg"));
    let app = App(begun.seed.expose().clone());
    let answer = EnrolmentAnswer::Totp { handle: begun.totp_handle, code: app.code(world) };
    let enrolled = caller.call(CompleteEnrolment { step, name: "Phone".to_owned(), answer }).await?;
    // The next code: this one is used up.
    world.clock.advance(30);
    Ok((app, enrolled))
}

async fn give(caller: &Persona<'_>, step: Option<BoundStep>, code: Secret<String>) -> Result<FactorGiven, Error> {
    caller.call(GiveFactor { step, answer: FactorAnswer::Code(code) }).await
}

fn kind<T: std::fmt::Debug>(outcome: Result<T, Error>) -> ErrorKind {
    outcome.unwrap_err().kind
}

/// Jane with an authenticator app, and her recovery codes.
async fn enrolled(world: &World, password: &Secret<String>) -> (App, Vec<Secret<String>>) {
    let first = session(sign_in(world, password).await);
    let (app, enrolled) = enrol(&person(world, &first).await, world, None).await.unwrap();
    assert_eq!(enrolled.recovery_codes.len(), 10);
    (app, enrolled.recovery_codes)
}

#[tokio::test]
async fn who_has_a_factor_gives_it_and_each_code_is_good_once() {
    let (world, password) = demo("").await;
    let (app, recovery) = enrolled(&world, &password).await;
    let waiting = step(sign_in(&world, &password).await);
    let nobody = world.nobody();
    let choice = nobody.call(LookUpFactors { step: Some(waiting.clone()) }).await.unwrap();
    assert!(choice.totp && choice.recovery && !choice.enrolment && choice.passkey.is_none());
    let code = app.code(&world);
    assert_eq!(
        kind(give(&nobody, Some(waiting.clone()), "000000".to_owned().into()).await),
        ErrorKind::InvalidAuthenticationCode
    );
    let other = BoundStep { binding: Some("another browser".to_owned().into()), ..waiting.clone() };
    assert_eq!(kind(give(&nobody, Some(other), code.clone()).await), ErrorKind::StaleStep);
    let given = give(&nobody, Some(waiting.clone()), code.clone()).await.unwrap();
    assert_eq!(given.session.unwrap().factor_given, Some(world.clock.now()));
    assert_eq!(kind(give(&nobody, Some(waiting), app.code(&world)).await), ErrorKind::StaleStep, "a step is good once");

    let again = step(sign_in(&world, &password).await);
    let replayed = give(&nobody, Some(again.clone()), code).await.unwrap_err();
    assert_eq!(replayed.private.as_deref(), Some("code_used"));
    // As people type it.
    let typed: Secret<String> = recovery[3].expose().to_uppercase().replace('-', " ").into();
    give(&nobody, Some(again), typed).await.unwrap();
    let third = step(sign_in(&world, &password).await);
    assert_eq!(kind(give(&nobody, Some(third), recovery[3].clone()).await), ErrorKind::InvalidAuthenticationCode);
}

/// A step is no session: who has not given the factor can neither enrol another one nor do anything else with it.
#[tokio::test]
async fn between_identity_and_factor_nothing_else_is_possible() {
    let (world, password) = demo("").await;
    enrolled(&world, &password).await;
    let waiting = step(sign_in(&world, &password).await);
    let nobody = world.nobody();
    assert_eq!(kind(nobody.call(BeginEnrolment { step: Some(waiting.clone()), totp_handle: None }).await), ErrorKind::StaleStep);
    assert_eq!(kind(nobody.call(ListFactors {}).await), ErrorKind::InvalidBearer);
    world.clock.advance(601);
    assert_eq!(kind(nobody.call(LookUpFactors { step: Some(waiting) }).await), ErrorKind::StaleStep, "it ends");
}

#[tokio::test]
async fn a_source_that_always_wants_one_has_it_set_up_before_the_session() {
    let (world, password) = demo("second_factor = { required = \"always\" }").await;
    let waiting = step(sign_in(&world, &password).await);
    let nobody = world.nobody();
    assert!(nobody.call(LookUpFactors { step: Some(waiting.clone()) }).await.unwrap().enrolment);
    assert_eq!(kind(give(&nobody, Some(waiting.clone()), "000000".to_owned().into()).await), ErrorKind::StaleStep);
    let (_, enrolled) = enrol(&nobody, &world, Some(waiting.clone())).await.unwrap();
    assert!(enrolled.session.unwrap().factor_given.is_some());
    assert_eq!(kind(enrol(&nobody, &world, Some(waiting)).await.map(drop)), ErrorKind::StaleStep, "once");
}

#[tokio::test]
async fn the_first_factor_can_be_put_off_for_days_that_are_counted_from_the_first_sign_in() {
    let (world, password) = demo("second_factor = { required = \"always\", grace_days = 7 }").await;
    session(sign_in(&world, &password).await);
    world.clock.advance(7 * 86_400 - 1);
    session(sign_in(&world, &password).await);
    world.clock.advance(1);
    step(sign_in(&world, &password).await);
}

#[tokio::test]
async fn a_role_that_wants_a_fresh_factor_asks_for_it_then() {
    let (world, password) = demo("second_factor = { required = \"never\" }").await;
    let (app, _) = enrolled(&world, &password).await;
    let signed_in = session(sign_in(&world, &password).await);
    let account = AccountId::parse(MANAGEMENT).unwrap();
    let take = async |caller: &Persona<'_>| {
        caller.call(GetRoleCredentials { role_name: "Careful".to_owned(), account_id: account.clone() }).await.map(drop)
    };
    let asks = async |caller: &Persona<'_>| {
        let offers = caller.call(ListRoleOffers {}).await.unwrap().offers;
        offers.iter().find(|role| role.offer.role.role.name.as_str() == "Careful").unwrap().step_up
    };
    let before = person(&world, &signed_in).await;
    assert!(asks(&before).await);
    let listed = before.call(ListAccountRoles { account_id: account.clone(), next_token: None, max_result: None }).await.unwrap();
    assert!(listed.role_list.iter().any(|role| role.role_name == "Careful"), "command lines see it");
    let refused = take(&before).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::StepUpRequired);
    assert!(refused.public.contains("/second-factor"), "{}", refused.public);

    give(&before, None, app.code(&world)).await.unwrap();
    let after = person(&world, &signed_in).await;
    assert!(!asks(&after).await);
    take(&after).await.unwrap();
    // A command line that the session lent itself to has it, another session has not.
    let lent = PortalSession { id: "cli".to_owned(), lent_by: Some(signed_in.id.clone()), ..signed_in.clone() };
    take(&person(&world, &lent).await).await.unwrap();
    let other = session(sign_in(&world, &password).await);
    assert_eq!(kind(take(&person(&world, &other).await).await), ErrorKind::StepUpRequired);
    world.clock.advance(900);
    assert_eq!(kind(take(&person(&world, &signed_in).await).await), ErrorKind::StepUpRequired, "it grows old");
}

/// A role whose trust policy would let the person in with no factor of any age is not offered, and nothing is asked.
#[tokio::test]
async fn a_role_that_does_not_trust_the_person_asks_for_nothing() {
    let (world, _) = demo("").await;
    let sam = world.person(&["developers"]);
    let wish = GetRoleCredentials { role_name: "Administrator".to_owned(), account_id: AccountId::parse(MANAGEMENT).unwrap() };
    assert_eq!(kind(sam.call(wish).await), ErrorKind::AccessDenied);
}

const PASSWORD_CONTEXT: &str = "urn:oasis:names:tc:SAML:2.0:ac:classes:Password";

#[tokio::test]
async fn a_provider_s_word_on_factors_counts_where_it_is_believed() {
    for (settings, present) in [
        (String::new(), "false"),
        ("second_factor = { believed = [\"urn:other\"] }".to_owned(), "false"),
        (format!("second_factor = {{ believed = [\"{PASSWORD_CONTEXT}\"] }}"), "true"),
    ] {
        let idp = Idp::new();
        let world = logout::world(&idp, &settings).await;
        let session = logout::sign_in(&idp, &world, "_1").await;
        let identity = session.identity.clone();
        let caller = world.caller(Principal::Person(Arc::new(session)));
        let scope = daypass::gateway::Scope::new(world.gateway.snapshot(), caller.caller.clone());
        assert_eq!(scope.context().values("aws:MultiFactorAuthPresent"), Some(&[present.to_owned()][..]), "{settings}");
        assert_eq!(world.gateway.snapshot().asserted_factor(&identity).is_some(), present == "true");
    }
}

#[tokio::test]
async fn believed_people_are_not_asked_again_and_others_are() {
    for (believed, asked) in [(PASSWORD_CONTEXT, false), ("urn:other", true)] {
        let idp = Idp::new();
        let settings = format!("second_factor = {{ required = \"always\", believed = [\"{believed}\"] }}");
        let world = logout::world(&idp, &settings).await;
        let outcome = logout::outcome(&idp, &world, "_1").await;
        assert_eq!(matches!(outcome, SignInOutcome::Factor { .. }), asked, "{believed}: {outcome:?}");
    }
}

#[tokio::test]
async fn guessing_codes_is_slowed_down_wherever_it_comes_from() {
    let (world, password) = demo("").await;
    let (app, _) = enrolled(&world, &password).await;
    let waiting = step(sign_in(&world, &password).await);
    for _ in 0..10 {
        let refused = give(&world.nobody(), Some(waiting.clone()), "000000".to_owned().into()).await.unwrap_err();
        assert_eq!(refused.private.as_deref(), Some("code_wrong"));
    }
    let mut elsewhere = world.nobody();
    let mut origin = (*elsewhere.caller.origin).clone();
    origin.source_ip = [198, 51, 100, 7].into();
    elsewhere.caller.origin = Arc::new(origin);
    let refused = give(&elsewhere, Some(waiting), app.code(&world)).await.unwrap_err();
    assert!(refused.private.unwrap().starts_with("attempts_paused"), "not even the right one");
}

#[tokio::test]
async fn factors_change_only_when_one_was_just_given() {
    let (world, password) = demo("second_factor = { required = \"never\" }").await;
    let (app, _) = enrolled(&world, &password).await;
    let signed_in = session(sign_in(&world, &password).await);
    let jane = person(&world, &signed_in).await;
    let held = jane.call(ListFactors {}).await.unwrap();
    assert_eq!((held.factors.len(), held.recovery_codes, held.factors[0].name.as_str()), (1, Some(10), "Phone"));
    let remove = || RemoveFactor { id: held.factors[0].id.clone() };
    assert_eq!(kind(jane.call(remove()).await), ErrorKind::StepUpRequired);
    assert_eq!(kind(jane.call(RenewRecoveryCodes {}).await), ErrorKind::StepUpRequired);
    assert_eq!(kind(enrol(&jane, &world, None).await.map(drop)), ErrorKind::StepUpRequired);
    give(&jane, None, app.code(&world)).await.unwrap();

    let jane = person(&world, &signed_in).await;
    let codes = jane.call(RenewRecoveryCodes {}).await.unwrap().codes;
    assert_eq!(codes.len(), 10);
    let (_, second) = enrol(&jane, &world, None).await.unwrap();
    assert!(second.recovery_codes.is_empty(), "those there are stay");
    jane.call(remove()).await.unwrap();
    assert_eq!(kind(jane.call(remove()).await), ErrorKind::NoSuchEntity);
    let rest = jane.call(ListFactors {}).await.unwrap();
    assert_eq!((rest.factors.len(), rest.recovery_codes), (1, Some(10)));
    jane.call(RemoveFactor { id: rest.factors[0].id.clone() }).await.unwrap();
    assert_eq!(jane.call(ListFactors {}).await.unwrap().recovery_codes, None, "with the last one go the codes");
}

/// A session that somebody left open is no way to become its owner for good.
#[tokio::test]
async fn a_first_factor_is_enrolled_soon_after_the_sign_in_or_not_at_all() {
    let (world, password) = demo("").await;
    let signed_in = session(sign_in(&world, &password).await);
    world.clock.advance(601);
    let refused = enrol(&person(&world, &signed_in).await, &world, None).await.map(drop).unwrap_err();
    assert!(refused.kind == ErrorKind::StepUpRequired && refused.public.starts_with("Sign in again"), "{}", refused.public);
    // The provider's own session is not enough for it: the person authenticates anew.
    let idp = Idp::new();
    let world = logout::world(&idp, "").await;
    let begin = |continuation| BeginSignIn { source: "corp".to_owned(), continuation, binding: "b".to_owned().into() };
    for (continuation, forced) in [(Continuation::Portal, false), (Continuation::Enrolment, true)] {
        let begun = world.nobody().call(begin(continuation)).await.unwrap();
        let Departure::Redirect(url) = begun.departure else { panic!("a redirect") };
        let request = daypass::crypto::xmldsig::sign::read_query(url.query().unwrap()).unwrap();
        assert_eq!(request.xml.contains("ForceAuthn=\"true\""), forced, "{}", request.xml);
    }
}

/// `<source>:<subject>` of somebody in the demo directory.
async fn person_id(world: &World, name: &str) -> String {
    let users = world.gateway.broker.store.read().users().await.unwrap();
    format!("people:{}", users.iter().find(|user| user.name.as_str() == name).unwrap().id)
}

async fn reset_link(world: &World, name: &str) -> Secret<String> {
    let link = world.root(MANAGEMENT).call(ResetFactors { person: person_id(world, name).await }).await.unwrap();
    Secret::new(link.url.expose().rsplit('/').next().unwrap().to_owned())
}

/// Also where the source asks nobody at the sign-in: roles do, and whoever lost everything must get out of that.
#[tokio::test]
async fn an_administrator_s_link_starts_anew_for_the_person_it_was_made_for() {
    for settings in ["", "second_factor = { required = \"never\" }"] {
        let (world, password) = demo(settings).await;
        enrolled(&world, &password).await;
        let jane = person_id(&world, JANE).await;
        let other = world.root("222233334444").call(ResetFactors { person: jane.clone() }).await;
        assert_eq!(kind(other), ErrorKind::AccessDenied);
        let foreign = reset_link(&world, "sam@example.com").await;
        let usual = sign_in_with(&world, &password, Some(foreign)).await;
        assert_eq!(matches!(usual, SignInOutcome::Session(_)), !settings.is_empty(), "somebody else's link is none");
        let replaced = reset_link(&world, JANE).await;
        let token = reset_link(&world, JANE).await;
        let usual = sign_in_with(&world, &password, Some(replaced)).await;
        assert_eq!(matches!(usual, SignInOutcome::Session(_)), !settings.is_empty(), "a new link replaces the old one");

        let nobody = world.nobody();
        let anew = step(sign_in_with(&world, &password, Some(token.clone())).await);
        let late = step(sign_in_with(&world, &password, Some(token)).await);
        assert!(nobody.call(LookUpFactors { step: Some(anew.clone()) }).await.unwrap().enrolment);
        let held = async || world.root(MANAGEMENT).call(ListFactorsOf { person: jane.clone() }).await.unwrap().factors;
        let before = held().await;
        assert_eq!(before.len(), 1, "what there was goes when what comes is there, not before");
        let (app, enrolled) = enrol(&nobody, &world, Some(anew)).await.unwrap();
        assert!(enrolled.session.is_some() && enrolled.recovery_codes.len() == 10);
        let after = held().await;
        assert!(after.len() == 1 && after[0].id != before[0].id);
        assert_eq!(kind(enrol(&nobody, &world, Some(late)).await.map(drop)), ErrorKind::StaleStep, "a link is good once");
        let jane = person(&world, &enrolled.session.unwrap()).await;
        give(&jane, None, app.code(&world)).await.unwrap();
    }
}

/// Whoever knows the password and came first must not enrol after the person did.
#[tokio::test]
async fn a_step_that_waits_for_a_first_factor_is_over_when_there_is_one() {
    let (world, password) = demo("second_factor = { required = \"always\" }").await;
    let intruder = step(sign_in(&world, &password).await);
    let jane = step(sign_in(&world, &password).await);
    enrol(&world.nobody(), &world, Some(jane)).await.unwrap();
    let late = enrol(&world.nobody(), &world, Some(intruder)).await.map(drop);
    assert_eq!(kind(late), ErrorKind::StaleStep);
}

/// A step is over with everything else that somebody holds: nothing can be planted by it.
#[tokio::test]
async fn a_step_of_somebody_who_was_let_go_enrols_nothing() {
    let (world, password) = demo("second_factor = { required = \"always\" }").await;
    let waiting = step(sign_in(&world, &password).await);
    let id = person_id(&world, JANE).await.replace("people:", "");
    let update = |disabled, version| UpdateUser {
        id: id.clone(),
        email: JANE.to_owned(),
        display_name: "Jane".to_owned(),
        groups: Vec::new(),
        disabled,
        version,
    };
    world.clock.advance(1);
    for disabled in [true, false] {
        let version = world.version_of(&id).await;
        world.root(MANAGEMENT).call(update(disabled, version)).await.unwrap();
        let late = enrol(&world.nobody(), &world, Some(waiting.clone())).await.map(drop);
        assert_eq!(kind(late), ErrorKind::StaleStep, "disabled: {disabled}");
    }
}

#[tokio::test]
async fn after_a_hundred_wrong_codes_there_are_none_any_more_until_somebody_starts_anew() {
    let (world, password) = demo("").await;
    let (app, recovery) = enrolled(&world, &password).await;
    let mut wrong = 0;
    let mut waiting = step(sign_in(&world, &password).await);
    loop {
        // A step lasts for two guesses with the pause between them.
        if wrong % 2 == 0 {
            waiting = step(sign_in(&world, &password).await);
        }
        let refused =
            give(&world.nobody(), Some(waiting.clone()), "000000".to_owned().into()).await.unwrap_err().private.unwrap();
        if refused.starts_with("codes_off") {
            break;
        }
        assert_eq!(refused, "code_wrong");
        wrong += 1;
        world.clock.advance(301);
    }
    assert_eq!(wrong, 100);
    for code in [app.code(&world), recovery[0].clone()] {
        let waiting = step(sign_in(&world, &password).await);
        let refused = give(&world.nobody(), Some(waiting), code).await.unwrap_err();
        assert!(refused.public.contains("link to start anew"), "{}", refused.public);
    }
    let token = reset_link(&world, JANE).await;
    let anew = step(sign_in_with(&world, &password, Some(token)).await);
    let (app, _) = enrol(&world.nobody(), &world, Some(anew)).await.unwrap();
    let waiting = step(sign_in(&world, &password).await);
    give(&world.nobody(), Some(waiting), app.code(&world)).await.unwrap();
}

/// Factors are of the provider's people, not of whoever comes under its name.
#[tokio::test]
async fn factors_stay_with_the_directory_whatever_it_is_called_and_go_with_a_provider() {
    let (world, password) = demo("").await;
    enrolled(&world, &password).await;
    let renamed = DEMO.replace("name = \"people\"", "name = \"staff\"");
    world.apply(parse(&renamed, "toml").unwrap(), true).await.unwrap();
    let staff = person_id(&world, JANE).await.replace("people:", "staff:");
    let root = world.root(MANAGEMENT);
    assert_eq!(root.call(ListFactorsOf { person: staff }).await.unwrap().factors.len(), 1);

    let idp = Idp::new();
    let world = logout::world(&idp, "").await;
    let session = logout::sign_in(&idp, &world, "_1").await;
    enrol(&person(&world, &session).await, &world, None).await.unwrap();
    let owner = session.identity.factor_owner();
    let held = async || world.gateway.broker.store.read().factors(&owner).await.unwrap().len();
    assert_eq!(held().await, 2, "the app, and recovery codes");
    let gone = daypass::api::iam::setup::DeleteSource { name: daypass::domain::name::ProviderName::parse("corp").unwrap() };
    world.root(MANAGEMENT).call(gone).await.unwrap();
    assert_eq!(held().await, 0);
}

#[tokio::test]
async fn a_person_sees_where_they_are_signed_in_and_ends_it() {
    let (world, password) = demo("").await;
    let here = session(sign_in(&world, &password).await);
    let there = session(sign_in(&world, &password).await);
    let jane = person(&world, &here).await;
    let own = jane.call(ListOwnSessions {}).await.unwrap();
    assert_eq!((own.sessions.len(), own.current.as_str()), (2, here.id.as_str()));
    jane.call(EndOwnSession { id: Some(there.id.clone()) }).await.unwrap();
    assert_eq!(kind(world.gateway.person(there.clone()).await), ErrorKind::InvalidBearer);
    assert_eq!(kind(jane.call(EndOwnSession { id: Some(there.id) }).await), ErrorKind::NoSuchEntity);
    let third = session(sign_in(&world, &password).await);
    jane.call(EndOwnSession { id: None }).await.unwrap();
    assert_eq!(kind(world.gateway.person(third).await), ErrorKind::InvalidBearer);
    assert_eq!(jane.call(ListOwnSessions {}).await.unwrap().sessions.len(), 1);
    // Nobody ends somebody else's.
    let sam = world.person(&["developers"]);
    assert_eq!(kind(sam.call(EndOwnSession { id: Some(here.id.clone()) }).await), ErrorKind::NoSuchEntity);
    world.gateway.person(here).await.unwrap();
}

/// Where only certain models will do, an app does not, whatever the page shows. With a real authenticator:
/// `tests/e2e/factors.test.mjs`.
#[tokio::test]
async fn where_only_certain_models_will_do_an_app_does_not() {
    let key = rcgen::KeyPair::generate().unwrap();
    let root = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
    let root = crate::idp::pem(root.der()).replace("PRIVATE KEY", "CERTIFICATE");
    let model = |aaguid: &str, certificate: &str| {
        format!("second_factor.authenticators = [{{ name = \"Key\", aaguid = \"{aaguid}\", certificate = {certificate:?} }}]")
    };
    let (world, password) = demo(&model("01020304-0506-0708-0102-030405060708", &root)).await;
    let jane = person(&world, &session(sign_in(&world, &password).await)).await;
    assert_eq!(kind(enrol(&jane, &world, None).await.map(drop)), ErrorKind::InvalidInput);
    for (aaguid, certificate) in [("no aaguid", root.as_str()), ("01020304-0506-0708-0102-030405060708", "no certificate")] {
        let text = DEMO.replace("type = \"directory\"", &format!("type = \"directory\"\n{}", model(aaguid, certificate)));
        let wish = PlanOrganization { file: parse(&text, "toml").unwrap(), prune: false, new_passwords: false };
        let refused = world.operator().call(ApplyOrganization(wish)).await.unwrap_err();
        assert!(refused.public.contains("identity_sources[0].second_factor.authenticators"), "{refused}");
    }
}
