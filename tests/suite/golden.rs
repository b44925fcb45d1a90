//! Goldens: files a reviewer reads. `UPDATE=1` rewrites them.

use crate::world::{MANAGEMENT, World};
use daypass::{
    api::TABLES,
    domain::{Error, ErrorKind, session::Principal},
    gateway::{Access, Entry, Operation, Protocol, Scope},
};
use std::{collections::BTreeMap, fmt::Write as _, fs};

pub fn check(name: &str, actual: &str) {
    let file = format!("tests/golden/{name}");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    for (number, (new, old)) in actual.lines().zip(expected.lines()).enumerate() {
        assert_eq!(new, old, "{file}:{} differs; look at it, then run UPDATE=1", number + 1);
    }
    assert_eq!(
        actual.lines().count(),
        expected.lines().count(),
        "{file} has another number of lines; look at it, then run UPDATE=1"
    );
}

fn entries() -> impl Iterator<Item = &'static Entry> {
    TABLES.iter().flat_map(|table| table.iter())
}

/// Why an operation of a model is not served. First match wins.
fn reason(service: &str, operation: &str) -> &'static str {
    let has = |words: &[&str]| words.iter().any(|word| operation.contains(word));
    match service {
        "rolesanywhere" if has(&["Tag", "Notification", "Subject", "Mapping"]) => "not served: nothing here needs it",
        "access-analyzer" => "not served yet: findings about access",
        "cloudtrail" => "not served: only reading the log is the broker's part",
        "organizations" if has(&["Handshake", "Invite", "Responsibility", "Delegated", "ServiceAccess", "GovCloud"]) => {
            "not served: one organization, whose accounts are made here"
        }
        "organizations" => "not served yet",
        "sso-admin" if has(&["Application", "TrustedTokenIssuer", "Region"]) => "not served yet: applications",
        "iam" if has(&["SSHPublicKey", "ServerCertificate", "SigningCertificate", "ServiceSpecificCredential"]) => {
            "not served: no such credentials exist here"
        }
        "iam" if has(&["Delegation", "LoginProfile", "Group"]) => "not served yet: IAM groups, console passwords, delegation",
        _ => "not served yet",
    }
}

#[test]
fn golden_operations() {
    let models: BTreeMap<String, Vec<String>> =
        serde_json::from_str(&fs::read_to_string("tests/data/models/operations.json").unwrap()).unwrap();
    let mut text = String::from("# Every operation of the published models: served, or not and why. Then our own.\n");
    for (service, operations) in &models {
        let source = format!("{service}.amazonaws.com");
        let served: Vec<&str> = entries()
            .filter(|entry| entry.event_source == source && entry.serve.is_some())
            .map(|entry| entry.operation)
            .collect();
        writeln!(text, "\n## {service}: {} of {} served", served.len(), operations.len()).unwrap();
        // What AWS serves and does not publish.
        let known = |operation: &str| {
            matches!(operation, "CreateSession" | "WhoAmI") || operations.iter().any(|known| known == operation)
        };
        let unknown = served.iter().find(|operation| !known(operation));
        assert_eq!(unknown, None, "{service}: not in the published model");
        for operation in operations {
            let word = if served.contains(&operation.as_str()) { "served" } else { reason(service, operation) };
            writeln!(text, "{operation}: {word}").unwrap();
        }
    }
    writeln!(text, "\n## our own, not on the wire").unwrap();
    for entry in entries().filter(|entry| entry.serve.is_none()) {
        writeln!(text, "{}: {}", entry.operation, entry.event_source).unwrap();
    }
    check("operations.txt", &text);
}

#[test]
fn golden_faults() {
    let mut text = String::from("# What each service answers to each kind of error: status and code (and OAuth error).\n");
    let mut seen = Vec::new();
    for entry in entries() {
        if seen.contains(&entry.event_source) {
            continue;
        }
        seen.push(entry.event_source);
        writeln!(text, "\n## {}", entry.event_source).unwrap();
        for kind in ErrorKind::ALL {
            let fault = (entry.fault)(&Error::new(*kind, "public").with_private("private"));
            assert!(!fault.message.contains("private"), "{kind:?}: the private message reached a fault");
            let oauth = fault.oauth.map(|error| format!(" {error}")).unwrap_or_default();
            writeln!(text, "{kind:?}: {} {}{oauth}", fault.status, fault.code).unwrap();
        }
    }
    check("faults.txt", &text);
}

/// One sample of every operation. A new operation without a line here fails `every_operation_stands_in_exactly_one_table`.
macro_rules! samples {
    ($visit:ident) => {{
        use daypass::api::{metadata::RenewMetadata, access_analyzer::{CompletePolicy, ValidatePolicy, review}, settings::ListSettings, audit_log::{BeginBackup, VerifyAuditLog}, apply::*, cloudtrail::LookupEvents, directory, keys::{ListRingKeys, ListSigningKeys, RetireSigningKeys, RotateRingKey, RotateSigningKey}, iam::{access_keys::*, mapping, instance_profiles::*, invitation::*, mfa::*, outbound::*, policies::*, providers::*, role_policies::*, roles::*, setup::*, sign_ins::{self, ListSignIns}, simulate_policy::*, trust::{mappings, preview, proposals, simulate, simulate::SimulateTrust}, sources, user_policies::*, users::*}, organizations, rolesanywhere::{anchors::*, profiles::*, revocation_lists::*, session::CreateSession}, scim, sign_out::*, signin::*, sso, sso_admin, sso_oidc::*, sts::{self, *, sessions}};
        let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"sts:AssumeRole"}]}"#;
        let allow = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;
        let file = || parse_demo();
        $visit!(AssumeRole, { "RoleArn": "arn:aws:iam::333344445555:role/Pipeline", "RoleSessionName": "chained" });
        $visit!(AssumeRoleWithSAML, { "RoleArn": "arn:aws:iam::111122223333:role/Administrator", "PrincipalArn": "arn:aws:iam::111122223333:saml-provider/x", "SAMLAssertion": "PHg+" });
        $visit!(AssumeRoleWithWebIdentity, { "RoleArn": "arn:aws:iam::111122223333:role/Administrator", "RoleSessionName": "ci", "WebIdentityToken": "a.b.c" });
        $visit!(GetCallerIdentity, {});
        $visit!(sessions::ListSessions, {});
        $visit!(sessions::RevokeSessions, { "Who": { "Person": "directory:u-jane" } });
        $visit!(GetAccessKeyInfo, { "AccessKeyId": "ASIAAAAAAAAAAAAAAAAA" });
        $visit!(DecodeAuthorizationMessage, { "EncodedMessage": "x" });
        $visit!(CreateRole, { "RoleName": "New", "AssumeRolePolicyDocument": trust });
        $visit!(GetRole, { "RoleName": "Administrator" });
        $visit!(ListRoles, {});
        $visit!(UpdateRole, { "RoleName": "Administrator", "Description": "new" });
        $visit!(UpdateAssumeRolePolicy, { "RoleName": "Administrator", "PolicyDocument": trust });
        $visit!(DeleteRole, { "RoleName": "Nobody" });
        $visit!(PutRolePolicy, { "RoleName": "Administrator", "PolicyName": "p", "PolicyDocument": allow });
        $visit!(GetRolePolicy, { "RoleName": "Administrator", "PolicyName": "p" });
        $visit!(ListRolePolicies, { "RoleName": "Administrator" });
        $visit!(DeleteRolePolicy, { "RoleName": "Administrator", "PolicyName": "q" });
        $visit!(AttachRolePolicy, { "RoleName": "Administrator", "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess" });
        $visit!(DetachRolePolicy, { "RoleName": "Administrator", "PolicyArn": "arn:aws:iam::111122223333:policy/none" });
        $visit!(ListAttachedRolePolicies, { "RoleName": "Administrator" });
        $visit!(CreateInstanceProfile, { "InstanceProfileName": "machine" });
        $visit!(GetInstanceProfile, { "InstanceProfileName": "machine" });
        $visit!(ListInstanceProfiles, {});
        $visit!(ListInstanceProfilesForRole, { "RoleName": "Administrator" });
        $visit!(AddRoleToInstanceProfile, { "InstanceProfileName": "machine", "RoleName": "Administrator" });
        $visit!(RemoveRoleFromInstanceProfile, { "InstanceProfileName": "machine", "RoleName": "Administrator" });
        $visit!(DeleteInstanceProfile, { "InstanceProfileName": "machine" });
        $visit!(CreateSession, { "roleArn": "arn:aws:iam::111122223333:role/Administrator", "profileArn": "arn:aws:rolesanywhere:us-east-1:111122223333:profile/x", "trustAnchorArn": "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/x" });
        $visit!(CreateTrustAnchor, { "name": "corp", "source": { "sourceType": "CERTIFICATE_BUNDLE", "sourceData": { "x509CertificateData": "x" } } });
        $visit!(ListTrustAnchors, {});
        $visit!(GetTrustAnchor, { "trustAnchorId": "x" });
        $visit!(DeleteTrustAnchor, { "trustAnchorId": "x" });
        $visit!(EnableTrustAnchor, { "trustAnchorId": "x" });
        $visit!(DisableTrustAnchor, { "trustAnchorId": "x" });
        $visit!(CreateProfile, { "name": "machines", "roleArns": ["arn:aws:iam::111122223333:role/Administrator"] });
        $visit!(ListProfiles, {});
        $visit!(GetProfile, { "profileId": "x" });
        $visit!(DeleteProfile, { "profileId": "x" });
        $visit!(EnableProfile, { "profileId": "x" });
        $visit!(DisableProfile, { "profileId": "x" });
        $visit!(ImportCrl, { "name": "corp", "crlData": "eA==", "trustAnchorArn": "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/x" });
        $visit!(ListCrls, {});
        $visit!(DeleteCrl, { "crlId": "x" });
        $visit!(CreateUser, { "UserName": "robot" });
        $visit!(GetUser, { "UserName": "robot" });
        $visit!(ListUsers, {});
        $visit!(UpdateUser, { "UserName": "robot", "NewPath": "/robots/" });
        $visit!(PutUserPolicy, { "UserName": "robot", "PolicyName": "p", "PolicyDocument": allow });
        $visit!(GetUserPolicy, { "UserName": "robot", "PolicyName": "p" });
        $visit!(ListUserPolicies, { "UserName": "robot" });
        $visit!(DeleteUserPolicy, { "UserName": "robot", "PolicyName": "p" });
        $visit!(AttachUserPolicy, { "UserName": "robot", "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess" });
        $visit!(ListAttachedUserPolicies, { "UserName": "robot" });
        $visit!(DetachUserPolicy, { "UserName": "robot", "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess" });
        $visit!(CreateAccessKey, { "UserName": "robot" });
        $visit!(CreateRootAccessKey, { "AccountId": "111122223333" });
        $visit!(ListAccessKeys, { "UserName": "robot" });
        $visit!(UpdateAccessKey, { "UserName": "robot", "AccessKeyId": "AKIAAAAAAAAAAAAAAAAA", "Status": "Inactive" });
        $visit!(DeleteAccessKey, { "UserName": "robot", "AccessKeyId": "AKIAAAAAAAAAAAAAAAAA" });
        $visit!(GetAccessKeyLastUsed, { "AccessKeyId": "AKIAAAAAAAAAAAAAAAAA" });
        $visit!(CreateVirtualMFADevice, { "VirtualMFADeviceName": "phone" });
        $visit!(EnableMFADevice, { "UserName": "robot", "SerialNumber": "arn:aws:iam::111122223333:mfa/phone", "AuthenticationCode1": "000000", "AuthenticationCode2": "000000" });
        $visit!(ListMFADevices, { "UserName": "robot" });
        $visit!(ListVirtualMFADevices, {});
        $visit!(DeactivateMFADevice, { "UserName": "robot", "SerialNumber": "arn:aws:iam::111122223333:mfa/phone" });
        $visit!(DeleteVirtualMFADevice, { "SerialNumber": "arn:aws:iam::111122223333:mfa/none" });
        $visit!(DeleteUser, { "UserName": "nobody" });
        $visit!(GetOutboundWebIdentityFederationInfo, {});
        $visit!(EnableOutboundWebIdentityFederation, {});
        $visit!(sts::users::GetSessionToken, {});
        $visit!(sts::users::GetFederationToken, { "Name": "guest" });
        $visit!(sts::root::AssumeRoot, { "TargetPrincipal": "333344445555", "TaskPolicyArn": { "arn": "arn:aws:iam::aws:policy/root-task/IAMAuditRootUserCredentials" } });
        $visit!(sts::outbound::GetWebIdentityToken, { "Audience": ["a"], "SigningAlgorithm": "RS256" });
        $visit!(sts::outbound::GetDelegatedAccessToken, { "TradeInToken": "x" });
        $visit!(DisableOutboundWebIdentityFederation, {});
        $visit!(CreatePolicy, { "PolicyName": "New", "PolicyDocument": allow });
        $visit!(GetPolicy, { "PolicyArn": "arn:aws:iam::111122223333:policy/none" });
        $visit!(ListPolicies, {});
        $visit!(DeletePolicy, { "PolicyArn": "arn:aws:iam::111122223333:policy/none" });
        $visit!(ListSAMLProviders, {});
        $visit!(ListOpenIDConnectProviders, {});
        $visit!(SimulateTrust, { "RoleName": "Administrator", "Identity": { "Claims": { "provider": "arn:aws:iam::111122223333:oidc-provider/directory", "claims": "{}" } } });
        $visit!(simulate::SimulateAccess, { "Identity": { "Claims": { "provider": "arn:aws:iam::111122223333:oidc-provider/directory", "claims": "{}" } } });
        $visit!(mappings::ListRoleMappings, {});
        $visit!(preview::PreviewTrustPolicy, { "RoleName": "Administrator", "PolicyDocument": trust });
        $visit!(proposals::ProposeTrustPolicy, { "RoleName": "Administrator", "PolicyDocument": trust, "Reason": "" });
        $visit!(proposals::ListTrustProposals, {});
        $visit!(proposals::DecideTrustProposal, { "Id": "x", "RoleName": "Administrator", "Approve": true });
        $visit!(proposals::WithdrawTrustProposal, { "Id": "x", "RoleName": "Administrator" });
        $visit!(CompletePolicy, { "kind": "action", "start": "s3:" });
        $visit!(SimulateCustomPolicy, { "PolicyInputList": [allow], "ActionNames": ["s3:GetObject"] });
        $visit!(SimulatePrincipalPolicy, { "PolicySourceArn": "arn:aws:iam::111122223333:role/Administrator", "ActionNames": ["s3:GetObject"] });
        $visit!(ValidatePolicy, { "policyDocument": allow, "policyType": "IDENTITY_POLICY" });
        $visit!(ListSignIns, {});
        $visit!(organizations::DescribeOrganization, {});
        $visit!(organizations::accounts::ListAccountsForParent, { "ParentId": "r-xxxx" });
        $visit!(organizations::accounts::DescribeAccount, { "AccountId": "333344445555" });
        $visit!(organizations::accounts::CreateAccount, { "AccountName": "New", "Email": "new@example.com" });
        $visit!(organizations::accounts::MoveAccount, { "AccountId": "333344445555", "SourceParentId": "r-xxxx", "DestinationParentId": "ou-xxxx-xxxxxxxx" });
        $visit!(organizations::accounts::ListTagsForResource, { "ResourceId": "333344445555" });
        $visit!(organizations::accounts::TagResource, { "ResourceId": "333344445555", "Tags": [{ "Key": "Team", "Value": "blue" }] });
        $visit!(organizations::accounts::UntagResource, { "ResourceId": "333344445555", "TagKeys": ["Team"] });
        $visit!(organizations::accounts::UpdateAccount, { "AccountId": "333344445555", "Name": "Sandbox", "Email": "", "Color": "", "Tags": {} });
        $visit!(organizations::accounts::SearchAccounts, {});
        $visit!(organizations::units::ListRoots, {});
        $visit!(organizations::units::ListParents, { "ChildId": "333344445555" });
        $visit!(organizations::units::ListOrganizationalUnitsForParent, { "ParentId": "r-xxxx" });
        $visit!(organizations::units::DescribeOrganizationalUnit, { "OrganizationalUnitId": "ou-xxxx-xxxxxxxx" });
        $visit!(organizations::units::CreateOrganizationalUnit, { "ParentId": "r-xxxx", "Name": "New" });
        $visit!(organizations::units::UpdateOrganizationalUnit, { "OrganizationalUnitId": "ou-xxxx-xxxxxxxx", "Name": "New" });
        $visit!(organizations::units::DeleteOrganizationalUnit, { "OrganizationalUnitId": "ou-xxxx-xxxxxxxx" });
        $visit!(organizations::policies::ListPolicies, { "Filter": "SERVICE_CONTROL_POLICY" });
        $visit!(organizations::policies::DescribePolicy, { "PolicyId": "p-FullAWSAccess" });
        $visit!(organizations::policies::CreatePolicy, { "Name": "New", "Type": "SERVICE_CONTROL_POLICY", "Content": allow });
        $visit!(organizations::policies::UpdatePolicy, { "PolicyId": "p-xxxxxxxx" });
        $visit!(organizations::policies::DeletePolicy, { "PolicyId": "p-xxxxxxxx" });
        $visit!(organizations::policies::AttachPolicy, { "PolicyId": "p-FullAWSAccess", "TargetId": "333344445555" });
        $visit!(organizations::policies::DetachPolicy, { "PolicyId": "p-xxxxxxxx", "TargetId": "333344445555" });
        $visit!(organizations::policies::ListPoliciesForTarget, { "TargetId": "333344445555", "Filter": "SERVICE_CONTROL_POLICY" });
        $visit!(organizations::policies::ListTargetsForPolicy, { "PolicyId": "p-FullAWSAccess" });
        $visit!(sso_admin::ListInstances, {});
        $visit!(sso_admin::ListPermissionSets, { "InstanceArn": "arn:aws:sso:::instance/ssoins-x" });
        $visit!(sso_admin::DescribePermissionSet, { "InstanceArn": "arn:aws:sso:::instance/ssoins-x", "PermissionSetArn": "arn:aws:sso:::permissionSet/ssoins-x/ps-x" });
        $visit!(sso_admin::CreatePermissionSet, { "InstanceArn": "arn:aws:sso:::instance/ssoins-x", "Name": "Reader" });
        $visit!(sso_admin::UpdatePermissionSet, { "InstanceArn": "arn:aws:sso:::instance/ssoins-x", "PermissionSetArn": "arn:aws:sso:::permissionSet/ssoins-x/ps-x" });
        $visit!(sso_admin::DeletePermissionSet, { "InstanceArn": "arn:aws:sso:::instance/ssoins-x", "PermissionSetArn": "arn:aws:sso:::permissionSet/ssoins-x/ps-x" });
        $visit!(sso_admin::PutInlinePolicyToPermissionSet, { "InstanceArn": "arn:aws:sso:::instance/ssoins-x", "PermissionSetArn": "arn:aws:sso:::permissionSet/ssoins-x/ps-x", "InlinePolicy": allow });
        $visit!(sso_admin::GetInlinePolicyForPermissionSet, { "InstanceArn": "arn:aws:sso:::instance/ssoins-x", "PermissionSetArn": "arn:aws:sso:::permissionSet/ssoins-x/ps-x" });
        $visit!(sso_admin::DeleteInlinePolicyFromPermissionSet, { "InstanceArn": "arn:aws:sso:::instance/ssoins-x", "PermissionSetArn": "arn:aws:sso:::permissionSet/ssoins-x/ps-x" });
        $visit!(sso_admin::AttachManagedPolicyToPermissionSet, { "InstanceArn": "arn:aws:sso:::instance/ssoins-x", "PermissionSetArn": "arn:aws:sso:::permissionSet/ssoins-x/ps-x", "ManagedPolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess" });
        $visit!(sso_admin::DetachManagedPolicyFromPermissionSet, { "InstanceArn": "arn:aws:sso:::instance/ssoins-x", "PermissionSetArn": "arn:aws:sso:::permissionSet/ssoins-x/ps-x", "ManagedPolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess" });
        $visit!(sso_admin::ListManagedPoliciesInPermissionSet, { "InstanceArn": "arn:aws:sso:::instance/ssoins-x", "PermissionSetArn": "arn:aws:sso:::permissionSet/ssoins-x/ps-x" });
        $visit!(sso_admin::assignments::CreateAccountAssignment, { "InstanceArn": "arn:aws:sso:::instance/ssoins-x", "TargetId": "333344445555", "TargetType": "AWS_ACCOUNT", "PermissionSetArn": "arn:aws:sso:::permissionSet/ssoins-x/ps-x", "PrincipalType": "GROUP", "PrincipalId": "g-x" });
        $visit!(sso_admin::assignments::DeleteAccountAssignment, { "InstanceArn": "arn:aws:sso:::instance/ssoins-x", "TargetId": "333344445555", "TargetType": "AWS_ACCOUNT", "PermissionSetArn": "arn:aws:sso:::permissionSet/ssoins-x/ps-x", "PrincipalType": "GROUP", "PrincipalId": "g-x" });
        $visit!(sso_admin::assignments::ListAccountAssignments, { "InstanceArn": "arn:aws:sso:::instance/ssoins-x", "AccountId": "333344445555", "PermissionSetArn": "arn:aws:sso:::permissionSet/ssoins-x/ps-x" });
        $visit!(sso_admin::assignments::SetAssignment, { "PermissionSetArn": "arn:aws:sso:::permissionSet/ssoins-x/ps-x", "Principal": { "Group": "g-x" }, "Target": { "Account": "333344445555" }, "Assigned": true });
        $visit!(sso_admin::assignments::ListAssignments, {});
        $visit!(review::ReviewRoles, {});
        $visit!(review::ReviewPeople, {});
        $visit!(ListSettings, {});
        $visit!(VerifyAuditLog, {});
        $visit!(BeginBackup, {});
        $visit!(organizations::accounts::ListAccounts, {});
        $visit!(LookupEvents, {});
        $visit!(RegisterClient, { "clientName": "c", "clientType": "public" });
        $visit!(StartDeviceAuthorization, { "clientId": "x", "clientSecret": "x", "startUrl": "https://x" });
        $visit!(CreateToken, { "clientId": "x", "clientSecret": "x", "grantType": "refresh_token" });
        $visit!(sso::ListAccounts, {});
        $visit!(sso::ListAccountRoles, { "account_id": "111122223333" });
        $visit!(sso::GetRoleCredentials, { "account_id": "111122223333", "role_name": "Administrator" });
        $visit!(sso::Logout, {});
        $visit!(sso::WhoAmI, {});
        $visit!(sso::portal::ListRoleOffers, {});
        $visit!(sso::portal::SetFavouriteRole, { "account_id": "111122223333", "role_name": "Administrator", "favourite": true });
        $visit!(ListIdentitySources, {});
        $visit!(BeginSignIn, { "source": "people", "continuation": "Portal", "binding": "x" });
        $visit!(ParkSamlResponse, { "handle": "x", "response": [60] });
        $visit!(LookUpArrival, { "handle": "x", "binding": "b" });
        $visit!(ArriveUnsolicited, { "response": [60] });
        $visit!(SignOut, {});
        $visit!(ProviderLogout, { "message": { "Redirect": "SAMLRequest=x" } });
        $visit!(sign_ins::GetSignIn, { "event_id": "x" });
        $visit!(sources::ListSources, {});
        $visit!(mapping::PreviewMapping, { "event_id": "x", "lines": "" });
        $visit!(sources::PreviewSource, { "name": null, "text": "<x/>" });
        $visit!(CreateSource, { "name": "corp", "label": "Corp", "published": { "Oidc": { "issuer": "https://login.example.com" } }, "client": { "id": "x", "secret": null } });
        $visit!(UpdateSourceMapping, { "name": "people", "lines": "" });
        $visit!(DeleteSource, { "name": "people" });
        $visit!(InviteSource, { "name": "corp", "label": "Corp", "protocol": "saml" });
        $visit!(LookUpInvitation, { "token": "x" });
        $visit!(PreviewInvitedSource, { "token": "x", "text": "<x/>" });
        $visit!(AcceptInvitation, { "token": "x", "digest": "x", "client": { "id": "x", "secret": null } });
        $visit!(BackChannelLogout, { "source": "people", "logout_token": "x" });
        $visit!(RenewMetadata, { "owner": "Organization", "name": "corp", "metadata": "<x/>", "replaces": "x" });
        $visit!(CompleteSignIn, { "source": null, "binding": null, "answer": { "Parked": { "handle": "x" } } });
        $visit!(LookUpDevice, { "user_code": "ABCD-EFGH" });
        $visit!(DecideDevice, { "user_code": "ABCD-EFGH", "approve": true });
        $visit!(CreateTokenWithIAM, { "clientId": "arn:aws:sso::111122223333:application/ssoins-1/apl-1", "grantType": "refresh_token" });
        $visit!(CreateOAuth2Token, { "clientId": "arn:aws:signin:::devtools/same-device", "grantType": "refresh_token" });
        $visit!(IssueLoginCredentials, { "account": "111122223333", "name": "Administrator" });
        $visit!(LookUpClient, { "request": {} });
        $visit!(Authorize, { "request": {}, "approve": true });
        $visit!(GetSigninToken, { "credentials": { "sessionId": "x", "sessionKey": "x", "sessionToken": "x" }, "session_duration": null });
        $visit!(ConsoleLogin, { "signin_token": "x" });
        $visit!(factor::LookUpFactors, { "step": { "handle": "x", "binding": "b" } });
        $visit!(factor::GiveFactor, { "step": { "handle": "x", "binding": "b" }, "answer": { "Code": "000000" } });
        $visit!(factor::BeginPasskeySignIn, { "binding": "b" });
        $visit!(factor::SignInWithPasskey, { "binding": "b", "handle": "x", "credential": "{}", "continuation": "Portal" });
        $visit!(enrolment::BeginEnrolment, { "step": { "handle": "x", "binding": "b" }, "totp_handle": null });
        $visit!(enrolment::CompleteEnrolment, { "step": { "handle": "x", "binding": "b" }, "name": "", "answer": { "Totp": { "handle": "x", "code": "000000" } } });
        $visit!(enrolment::ListFactors, {});
        $visit!(enrolment::RemoveFactor, { "id": "x" });
        $visit!(enrolment::RenewRecoveryCodes, {});
        $visit!(enrolment::ListFactorsOf, { "person": "people:u-jane" });
        $visit!(enrolment::ResetFactors, { "person": "people:u-jane" });
        $visit!(directory::SearchUsers, {});
        $visit!(directory::groups::SearchGroups, {});
        $visit!(directory::groups::NameOf, { "id": "g-x" });
        $visit!(directory::groups::FindByName, { "name": "admins", "group": true });
        $visit!(directory::CreateUser, { "user_name": "kim", "email": "kim@example.com", "display_name": "Kim", "groups": [] });
        $visit!(directory::UpdateUser, { "id": "u-x", "email": "kim@example.com", "display_name": "Kim", "groups": [], "disabled": false, "version": 1 });
        $visit!(directory::DeleteUser, { "id": "u-x" });
        $visit!(directory::CreateGroup, { "name": "new" });
        $visit!(directory::CreateBearerToken, { "name": "Entra ID", "scope": "users-and-groups", "takeover": false, "days": 90 });
        $visit!(directory::ListBearerTokens, {});
        $visit!(directory::DeleteBearerToken, { "id": "x" });
        $visit!(scim::ListUsers, {});
        $visit!(scim::SearchUsers, { "resource": {} });
        $visit!(scim::SearchGroups, { "resource": {} });
        $visit!(scim::CreateUser, { "resource": {} });
        $visit!(scim::GetUser, { "id": "u-x" });
        $visit!(scim::PutUser, { "id": "u-x", "resource": {} });
        $visit!(scim::PatchUser, { "id": "u-x", "resource": {} });
        $visit!(scim::DeleteUser, { "id": "u-x" });
        $visit!(scim::ListGroups, {});
        $visit!(scim::CreateGroup, { "resource": {} });
        $visit!(scim::GetGroup, { "id": "g-x" });
        $visit!(scim::PutGroup, { "id": "g-x", "resource": {} });
        $visit!(scim::PatchGroup, { "id": "g-x", "resource": {} });
        $visit!(scim::DeleteGroup, { "id": "g-x" });
        $visit!(scim::GetServiceProviderConfig, {});
        $visit!(scim::ListResourceTypes, {});
        $visit!(scim::GetResourceType, { "id": "User" });
        $visit!(scim::ListSchemas, {});
        $visit!(scim::GetSchema, { "id": "x" });
        $visit!(password::MakePasswordLink, { "id": "u-x" });
        $visit!(password::LookUpPasswordLink, { "token": "x" });
        $visit!(password::BeginSetPassword, { "token": "x", "password": "x" });
        $visit!(password::SetPassword, { "token": "x", "handle": "x" });
        $visit!(password::BeginPasswordChange, { "current": "x", "password": "x" });
        $visit!(password::ChangePassword, { "handle": "x" });
        $visit!(own_sessions::ListOwnSessions, {});
        $visit!(own_sessions::EndOwnSession, { "id": null });
        $visit!(OpenConsole, { "account_id": "111122223333", "role_name": "Administrator" });
        $visit!(ListRingKeys, {});
        $visit!(ListSigningKeys, {});
        $visit!(RotateSigningKey, { "purpose": "saml" });
        $visit!(RetireSigningKeys, {});
        $visit!(RotateRingKey, {});
        $visit!(PlanOrganization, { "file": file(), "prune": false, "new_passwords": false });
        $visit!(ApplyOrganization, { "file": file(), "prune": false, "new_passwords": false });
    }};
}

fn parse_demo() -> serde_json::Value {
    let demo: toml::Value = toml::from_str(crate::world::DEMO).unwrap();
    serde_json::to_value(demo).unwrap()
}

fn sample<O: Operation>(value: serde_json::Value) -> O {
    serde_json::from_value(value).unwrap_or_else(|error| panic!("{}: {error}", O::NAME))
}

#[test]
fn every_operation_stands_in_exactly_one_table_and_has_a_sample() {
    let mut sampled: Vec<&str> = Vec::new();
    macro_rules! visit {
        ($operation:ty, $json:tt) => {
            let _ = serde_json::json!($json);
            sampled.push(std::any::type_name::<$operation>());
        };
    }
    samples!(visit);
    sampled.sort_unstable();
    let mut tabled: Vec<&str> = entries().map(|entry| (entry.type_name)()).collect();
    tabled.sort_unstable();
    assert_eq!(tabled, sampled);
    let implemented = implementations();
    assert_eq!(implemented, tabled.len(), "`impl Operation for` in src/api, against entries of the tables");
}

fn implementations() -> usize {
    let mut count = 0;
    let mut folders = vec![std::path::PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                // Those that hold policies have seven operations by one macro; anchors and profiles one by each use.
                count += text.matches("\nimpl Operation for ").count() + 7 * text.matches("\noperations!(").count();
                count += text.matches("\non_one!(").count();
                count += text.matches("\ndiscovery!(").count();
            }
        }
    }
    count
}

#[tokio::test]
async fn golden_open_doors() {
    let world = World::demo().await;
    // Some doors open to the operator only.
    let scope = |principal| {
        let mut scope = Scope::new(world.gateway.snapshot(), world.caller(principal).caller);
        scope.account = Some(MANAGEMENT.to_owned().try_into().unwrap());
        scope
    };
    let root = world.root(MANAGEMENT).caller.principal;
    let scopes = [scope(Principal::Anonymous), scope(Principal::Operator), scope(root)];
    let mut lines = Vec::new();
    macro_rules! visit {
        ($operation:ty, $json:tt) => {{
            let operation: $operation = sample(serde_json::json!($json));
            for scope in &scopes {
                // What is malformed for a caller is refused to that caller.
                let Ok(access) = operation.access(scope) else { continue };
                let line = match access {
                    Access::Signed(checks) => {
                        assert!(!checks.is_empty(), "{}: signed, and nothing is checked", <$operation>::NAME);
                        None
                    }
                    Access::WithFactor(..) => None,
                    Access::Trusted(_) => Some("a role's trust policy, on a verified provider's word".to_owned()),
                    Access::Person { because } => Some(format!("any signed-in person: {because}")),
                    Access::Caller { because } => Some(format!("whoever signed: {because}")),
                    Access::Operator { because } => Some(format!("the operator: {because}")),
                    Access::Public { because } => Some(format!("anybody: {because}")),
                    Access::Provisioner { needs, because } => {
                        Some(format!("a token that is good for {}: {because}", needs.word()))
                    }
                };
                if let Some(line) = line {
                    // What goes by the name of an operation elsewhere says where it is.
                    let service = <<$operation as Operation>::Service as daypass::gateway::Service>::EVENT_SOURCE;
                    let before = if service.contains("scim") { "scim " } else { "" };
                    lines.push(format!("{before}{}: {line}\n", <$operation>::NAME));
                }
            }
        }};
    }
    samples!(visit);
    lines.sort_unstable();
    lines.dedup();
    check(
        "open-doors.txt",
        &format!("# Every operation that is not decided by a signed caller's policies, and why.\n{}", lines.concat()),
    );
}

#[tokio::test]
async fn golden_permissions() {
    const PERSONAS: &[&str] = &["nobody", "person", "developer", "admin", "other-admin", "root", "operator", "scim"];
    let mut rows: Vec<(&str, String)> = Vec::new();
    for persona in PERSONAS {
        let world = World::demo().await;
        let caller = match *persona {
            "nobody" => world.nobody(),
            "person" => world.person(&["admins"]),
            "developer" => world.session("333344445555", "Developer", &["developers"]),
            "admin" => world.session(MANAGEMENT, "Administrator", &["admins"]),
            "other-admin" => world.session("222233334444", "ReadOnly", &["admins"]),
            "root" => world.root(MANAGEMENT),
            "scim" => world.caller(crate::scim::provisioner(daypass::domain::directory::TokenScope::UsersAndGroups, false)),
            _ => world.operator(),
        };
        macro_rules! visit {
            ($operation:ty, $json:tt) => {{
                let operation: $operation = sample(serde_json::json!($json));
                let outcome = caller.call(operation).await.map(drop);
                let gated = matches!(
                    outcome.as_ref().map_err(|error| error.kind),
                    Err(ErrorKind::AccessDenied
                        | ErrorKind::MissingCredentials
                        | ErrorKind::InvalidBearer
                        | ErrorKind::InvalidIdentityToken)
                );
                let name = std::any::type_name::<$operation>().trim_start_matches("daypass::api::");
                if !rows.iter().any(|(known, _)| *known == name) {
                    rows.push((name, String::new()));
                }
                let row = rows.iter_mut().find(|(known, _)| *known == name).unwrap();
                row.1.push_str(if gated { " -" } else { " y" });
            }};
        }
        samples!(visit);
    }
    let mut text = format!(
        "# Who gets past the gate of which operation. y: let in (what then happens is the operation's business), -: refused.\n# {}\n",
        PERSONAS.join(", ")
    );
    for (name, row) in rows {
        writeln!(text, "{row}  {name}").unwrap();
    }
    check("permissions.txt", &text);
}

#[test]
fn each_service_has_one_protocol_and_each_route_one_operation() {
    let mut protocols: BTreeMap<&str, Protocol> = BTreeMap::new();
    let mut routes = std::collections::BTreeSet::new();
    for entry in entries() {
        assert_eq!(*protocols.entry(entry.event_source).or_insert(entry.protocol), entry.protocol);
        if let Some(route) = entry.route {
            assert!(routes.insert(route), "{route:?} twice");
        }
    }
}
