// The portal and the console as people use them: finding a role by typing, changing who gets one with two pairs of eyes, and
// assigning a permission set to a whole part of the organization.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fs from 'node:fs';
import path from 'node:path';
import { axe, launch } from '../testbed/browser/browser.mjs';
import * as e2e from './harness.mjs';

const MANAGEMENT = '111122223333';
const JANE = 'jane@example.com';
const SAM = 'sam@example.com';
let broker, passwords;
const browsers = [];

async function browser(options) {
  const opened = await launch(options);
  browsers.push(opened);
  return opened.page;
}

async function signedIn(user, options) {
  const page = await browser(options);
  await e2e.signInToPortal(page, broker, user, passwords[user]);
  return page;
}

async function consoleOf(user, role) {
  const page = await signedIn(user);
  await page.getByRole('button', { name: new RegExp(`^Open the console as ${role} in Example Corp`) }).click();
  await page.getByRole('heading', { name: 'Roles', exact: true }).waitFor();
  return page;
}

const statement = (effect, action, condition) => ({ Effect: effect, Action: action, Resource: '*', ...(condition && { Condition: condition }) });
// An administrator who changes no trust policy alone.
const careful = `
[[roles]]
account = "${MANAGEMENT}"
name = "CarefulAdmin"
trust_policy = '''${JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Principal: { Federated: `arn:aws:iam::${MANAGEMENT}:oidc-provider/directory` }, Action: 'sts:AssumeRoleWithWebIdentity', Condition: { 'ForAnyValue:StringEquals': { 'directory:groups': ['admins', 'developers'] } } }] })}'''
[roles.policies]
careful = '''${JSON.stringify({ Version: '2012-10-17', Statement: [statement('Allow', '*'), statement('Deny', ['iam:UpdateAssumeRolePolicy', 'iam:CreateRole'], { Bool: { 'iam:SecondPersonApproval': 'false' } })] })}'''
`;

// Somebody who looks after people, and changes nobody.
const viewer = `
[[roles]]
account = "${MANAGEMENT}"
name = "Viewer"
trust_policy = '''${JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Principal: { Federated: `arn:aws:iam::${MANAGEMENT}:oidc-provider/directory` }, Action: 'sts:AssumeRoleWithWebIdentity', Condition: { 'ForAnyValue:StringEquals': { 'directory:groups': 'developers' } } }] })}'''
[roles.policies]
look = '''${JSON.stringify({ Version: '2012-10-17', Statement: [statement('Allow', ['iam:List*', 'iam:Get*', 'sso-directory:Search*', 'sso-directory:ListBearerTokens'])] })}'''
`;

before(async () => {
  broker = new e2e.Broker(await e2e.freePort());
  const document = fs.readFileSync(path.join(e2e.root, 'config/demo.toml'), 'utf8') + careful + viewer;
  ({ passwords } = broker.apply(document, '--new-passwords'));
  await broker.start();
});

after(async () => {
  await Promise.all(browsers.map((opened) => opened.close()));
  await broker?.kill('SIGTERM');
});

test('portal: a role is found by typing, chosen with the arrows, and its credentials are copied with one key', async () => {
  const page = await signedIn(JANE);
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write'], { origin: broker.url });
  await page.keyboard.press('/');
  await page.keyboard.type('prod read');
  assert.equal(await page.locator('[data-account] [data-role]:visible').count(), 1);
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('c');
  await page.getByText('Shell lines for ReadOnly are on the clipboard').waitFor();
  const lines = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(lines, /^export AWS_ACCESS_KEY_ID=ASIA/);
  const who = e2e.callerIdentity('/usr/bin/aws', lines);
  assert.equal(who.Arn, `arn:aws:sts::222233334444:assumed-role/ReadOnly/${JANE}`);
  await page.keyboard.press('Escape');
  await page.keyboard.type('nothing of the kind');
  await page.getByText('No account or role matches.').waitFor();
  await page.getByRole('button', { name: 'Clear the search' }).click();
  // Enter opens the console of what is found first, at the page that was chosen.
  await page.getByLabel('Console opens at').selectOption('Audit');
  await page.getByRole('searchbox').fill('administrator');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Audit' }).waitFor();
});

test('portal: favourites and what was used of late come first, also without JavaScript, and on another device', async () => {
  const page = await signedIn(JANE, { javaScript: false });
  await page.getByRole('button', { name: 'Favourite: Deployer in Production' }).click();
  const favourites = page.locator('[data-pinned]', { hasText: 'Favourites' });
  await favourites.getByRole('button', { name: 'Deployer in Production: open the console' }).waitFor();
  await page.getByRole('button', { name: 'Copy credentials for Developer in Sandbox' }).click();
  await page.getByRole('heading', { name: 'Credentials for Developer' }).waitFor();
  const other = await signedIn(JANE);
  await other.locator('[data-pinned]', { hasText: 'Used of late' }).getByText('Developer').waitFor();
  assert.deepEqual(await axe(other), []);
  await other.locator('[data-pinned]', { hasText: 'Favourites' }).getByRole('button', { name: 'Deployer in Production: favourite' }).click();
  await other.locator('[data-pinned]', { hasText: 'Favourites' }).waitFor({ state: 'detached' });
});

test('portal: a link to bookmark asks before it opens anything, and comes back after the sign-in', async () => {
  const page = await browser();
  await page.goto(`${broker.url}/portal/console?role=${encodeURIComponent(`${MANAGEMENT}/Administrator`)}&destination=/admin/audit`);
  await page.getByLabel('User name or e-mail').fill(JANE);
  await page.getByLabel('Password', { exact: true }).fill(passwords[JANE]);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Open the console?' }).waitFor();
  await page.getByRole('button', { name: 'Open the console' }).click();
  await page.getByRole('heading', { name: 'Audit' }).waitFor();
});

test('role mapping: a rule is changed as a form, the preview names who gains it, and it decides at once', async () => {
  const admin = await consoleOf(JANE, 'Administrator');
  await admin.getByRole('link', { name: 'Role mapping' }).first().click();
  await admin.getByLabel('Role, group or provider').fill('developers');
  await admin.getByRole('button', { name: 'Show' }).click();
  await admin.getByText('ReadOnly').waitFor();
  assert.equal(await admin.getByText('Deployer').count(), 0);
  await admin.goto(`${broker.url}/admin/roles/Administrator`);
  await admin.getByLabel('Values').fill('admins\ndevelopers');
  await admin.getByLabel('Second factor').selectOption('given lately');
  await admin.getByRole('button', { name: 'Edit as JSON' }).click();
  assert.match(await admin.getByLabel('Trust policy (JSON)').inputValue(), /"aws:MultiFactorAuthAge": "900"/);
  await admin.getByRole('button', { name: 'Edit as a form' }).click();
  await admin.getByLabel('Second factor').selectOption('not asked for');
  await admin.getByRole('button', { name: 'Preview', exact: true }).click();
  await admin.getByText('Wider:').waitFor();
  await admin.getByText('1 gain it, 0 lose it').waitFor();
  await admin.locator('#preview').getByText('Sam Lee').waitFor();
  await admin.getByRole('button', { name: 'Save trust policy' }).click();
  await admin.getByText('The new trust policy decides from now on.').waitFor();
  const sam = await signedIn(SAM);
  await sam.getByRole('button', { name: 'Open the console as Administrator in Example Corp' }).waitFor();
  // Back, and narrower this time.
  await admin.goto(`${broker.url}/admin/roles/Administrator`);
  await admin.getByLabel('Values').fill('admins');
  await admin.getByRole('button', { name: 'Preview', exact: true }).click();
  await admin.getByText('Not wider:').waitFor();
  await admin.getByText('0 gain it, 1 lose it').waitFor();
  // Somebody else is faster: what they did is not lost.
  const other = await consoleOf(JANE, 'Administrator');
  await other.goto(`${broker.url}/admin/roles/Administrator`);
  await other.getByLabel('Name (optional)').fill('Everybody');
  await other.getByRole('button', { name: 'Preview', exact: true }).click();
  await other.getByRole('button', { name: 'Save trust policy' }).click();
  await other.getByText('The new trust policy decides from now on.').waitFor();
  await admin.getByRole('button', { name: 'Save trust policy' }).click();
  await admin.getByRole('alert').getByText('in the meantime').waitFor();
  await admin.goto(`${broker.url}/admin/roles/Administrator`);
  await admin.getByLabel('Values').fill('admins');
  await admin.getByRole('button', { name: 'Preview', exact: true }).click();
  await admin.getByRole('button', { name: 'Save trust policy' }).click();
  await admin.getByText('The new trust policy decides from now on.').waitFor();
});

test('two pairs of eyes: who may not change a trust policy alone asks, and somebody else approves', async () => {
  const sam = await consoleOf(SAM, 'CarefulAdmin');
  await sam.goto(`${broker.url}/admin/roles/Administrator`);
  await sam.getByLabel('Values').fill('admins\ndevelopers');
  await sam.getByRole('button', { name: 'Preview', exact: true }).click();
  assert.ok(await sam.getByRole('button', { name: 'Save trust policy' }).isDisabled());
  await sam.getByText('Your role may not:').first().waitFor();
  await sam.getByLabel('What it is for').fill('Sam covers for Jane');
  await sam.getByRole('button', { name: 'Ask somebody else to approve it' }).click();
  await sam.getByText('Somebody else finds it under Approvals now.').waitFor();
  await sam.getByRole('link', { name: 'Approvals' }).click();
  await sam.getByText('Somebody else has to.').waitFor();
  assert.ok(await sam.getByRole('button', { name: 'Approve' }).isDisabled());
  const jane = await consoleOf(JANE, 'CarefulAdmin');
  await jane.getByRole('link', { name: 'Approvals' }).click();
  await jane.getByText('Sam covers for Jane').waitFor();
  await jane.getByRole('link', { name: 'See who gains and loses it' }).click();
  await jane.getByText('1 gain it').waitFor();
  assert.deepEqual(await axe(jane), []);
  await jane.getByRole('button', { name: 'Approve' }).click();
  await jane.getByText('Approved.').waitFor();
  const again = await signedIn(SAM);
  await again.getByRole('button', { name: 'Open the console as Administrator in Example Corp' }).waitFor();
});

test('a permission set assigned to a unit is in every account below it, a guardrail caps it, and findings are inline', async () => {
  const admin = await consoleOf(JANE, 'Administrator');
  await admin.getByRole('link', { name: 'Permission sets' }).click();
  await admin.getByLabel('Name').fill('Support');
  await admin.getByRole('button', { name: 'Create' }).click();
  await admin.getByLabel('Inline policy').fill('{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:GetRolle","Resource":"*"}]}');
  await admin.getByRole('button', { name: 'Save the policy' }).click();
  await admin.getByText('Did you mean `iam:GetRole`?').first().waitFor();
  await admin.getByLabel('Inline policy').fill('{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:Get*","iam:List*"],"Resource":"*"}]}');
  await admin.getByRole('button', { name: 'Save the policy' }).click();
  await admin.getByText('Saved.').waitFor();
  await admin.getByRole('combobox', { name: 'Group' }).selectOption('developers');
  await admin.getByLabel('Every account below').check();
  await admin.getByRole('combobox', { name: 'Unit' }).selectOption({ label: 'Workloads' });
  await admin.getByRole('button', { name: 'Assign' }).click();
  await admin.getByText('on every account below Workloads').waitFor();
  const sam = await signedIn(SAM);
  for (const account of ['Production', 'Sandbox']) await sam.getByRole('button', { name: `Copy credentials for Support in ${account}` }).waitFor();
  const lines = await e2e.copyShellLines(sam, 'Support', 'Sandbox');
  const roles = () => e2e.awsWith('/usr/bin/aws', lines, ['iam', 'list-roles']);
  assert.equal(roles().status, 0, roles().stderr);
  await admin.getByRole('link', { name: 'Guardrails' }).click();
  await admin.getByRole('link', { name: 'New guardrail' }).click();
  await admin.getByLabel('Name').fill('NoLooking');
  await admin.getByLabel('Policy (JSON)').fill('{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"iam:ListRoles","Resource":"*"}]}');
  await admin.getByRole('button', { name: 'Save' }).click();
  await admin.getByLabel('Attach it to').selectOption({ label: 'Unit Workloads' });
  await admin.getByRole('button', { name: 'Attach' }).click();
  await admin.getByText('It binds 2 accounts').waitFor();
  assert.match(roles().stderr, /explicit deny in a service control policy/);
  await admin.getByRole('button', { name: 'Take it off Workloads' }).click();
  await admin.getByText('Nowhere yet').waitFor();
  assert.equal(roles().status, 0);
});

test('aws organizations and aws sso-admin do the same over the wire', async () => {
  const page = await signedIn(JANE);
  const lines = await e2e.copyShellLines(page, 'Administrator', 'Example Corp');
  const aws = (...words) => {
    const done = e2e.awsWith(process.env.E2E_AWS_V1, lines, words);
    assert.equal(done.status, 0, `${words.join(' ')}: ${done.stderr}`);
    return done.stdout.trim() && JSON.parse(done.stdout);
  };
  const [root] = aws('organizations', 'list-roots').Roots;
  const unit = aws('organizations', 'create-organizational-unit', '--parent-id', root.Id, '--name', 'Wire').OrganizationalUnit;
  const account = aws('organizations', 'create-account', '--account-name', 'Wired', '--email', 'wired@example.com', '--tags', 'Key=Team,Value=blue').CreateAccountStatus;
  assert.equal(account.State, 'SUCCEEDED');
  aws('organizations', 'move-account', '--account-id', account.AccountId, '--source-parent-id', root.Id, '--destination-parent-id', unit.Id);
  assert.deepEqual(aws('organizations', 'list-parents', '--child-id', account.AccountId).Parents, [{ Id: unit.Id, Type: 'ORGANIZATIONAL_UNIT' }]);
  assert.deepEqual(aws('organizations', 'list-tags-for-resource', '--resource-id', account.AccountId).Tags, [{ Key: 'Team', Value: 'blue' }]);
  const content = JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Deny', Action: 's3:*', Resource: '*' }] });
  const policy = aws('organizations', 'create-policy', '--name', 'Wired', '--description', '', '--type', 'SERVICE_CONTROL_POLICY', '--content', content).Policy.PolicySummary;
  aws('organizations', 'attach-policy', '--policy-id', policy.Id, '--target-id', unit.Id);
  assert.deepEqual(aws('organizations', 'list-targets-for-policy', '--policy-id', policy.Id).Targets.map((target) => target.Name), ['Wire']);
  const failed = e2e.awsWith(process.env.E2E_AWS_V1, lines, ['organizations', 'describe-policy', '--policy-id', 'p-nothing1']);
  assert.match(failed.stderr, /PolicyNotFoundException/);
  const [instance] = aws('sso-admin', 'list-instances').Instances;
  const at = ['--instance-arn', instance.InstanceArn];
  const set = aws('sso-admin', 'create-permission-set', ...at, '--name', 'Wired', '--session-duration', 'PT8H').PermissionSet.PermissionSetArn;
  aws('sso-admin', 'attach-managed-policy-to-permission-set', ...at, '--permission-set-arn', set, '--managed-policy-arn', 'arn:aws:iam::aws:policy/AdministratorAccess');
  assert.equal(aws('sso-admin', 'describe-permission-set', ...at, '--permission-set-arn', set).PermissionSet.SessionDuration, 'PT8H');
  // The id of a person of the directory is the claim that sign-ins show.
  const mine = aws('sts', 'get-caller-identity');
  assert.equal(mine.Account, MANAGEMENT);
  const admin = await consoleOf(JANE, 'Administrator');
  await admin.goto(`${broker.url}/admin/try?search=sam`);
  const place = await admin.getByRole('link', { name: 'Sam Lee' }).getAttribute('href');
  const person = new URL(place, broker.url).searchParams.get('person');
  const who = ['--target-id', account.AccountId, '--target-type', 'AWS_ACCOUNT', '--permission-set-arn', set, '--principal-type', 'USER', '--principal-id', person];
  assert.equal(aws('sso-admin', 'create-account-assignment', ...at, ...who).AccountAssignmentCreationStatus.Status, 'SUCCEEDED');
  assert.equal(aws('sso-admin', 'list-account-assignments', ...at, '--account-id', account.AccountId, '--permission-set-arn', set).AccountAssignments.length, 1);
  const sam = await signedIn(SAM);
  await sam.getByRole('button', { name: 'Copy credentials for Wired in Wired' }).waitFor();
  aws('sso-admin', 'delete-account-assignment', ...at, ...who);
  aws('sso-admin', 'delete-permission-set', ...at, '--permission-set-arn', set);
});

test('what a role may not do is disabled, and says why', async () => {
  const page = await consoleOf(SAM, 'Viewer');
  await page.getByRole('link', { name: 'People', exact: true }).click();
  assert.ok(await page.getByRole('button', { name: 'Invite' }).isDisabled());
  await page.getByText('sso-directory:CreateUser').first().waitFor();
  await page.getByText('Jane Doe').first().click();
  assert.ok(await page.getByRole('button', { name: 'Save' }).first().isDisabled());
  assert.deepEqual(await axe(page), []);
  await page.getByRole('link', { name: 'Sources' }).click();
  assert.ok(await page.getByRole('button', { name: 'Make a setup link' }).isDisabled());
  await page.goto(`${broker.url}/admin/accounts`);
  await page.getByRole('heading', { name: 'Your role may not do this' }).waitFor();
});

test('audit: what is looked for, as a list and as a file', async () => {
  const admin = await consoleOf(JANE, 'Administrator');
  await admin.goto(`${broker.url}/admin/audit?event=SetAssignment`);
  await admin.locator('.event').first().waitFor();
  assert.equal(await admin.locator('.event', { hasText: 'AssumeRole' }).count(), 0);
  const [download] = await Promise.all([admin.waitForEvent('download'), admin.getByRole('link', { name: 'CSV' }).click()]);
  const text = fs.readFileSync(await download.path(), 'utf8').split('\r\n');
  assert.match(text[0], /^eventTime,eventName/);
  assert.ok(text.slice(1, -1).every((line) => line.includes(',SetAssignment,')) && text.length > 2, text.join('\n'));
});

test('2,500 roles are listed and searched without anybody waiting', async () => {
  const many = new e2e.Broker(await e2e.freePort());
  const ids = Array.from({ length: 500 }, (_, number) => String(400000000000 + number));
  const trust = (account) => JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Principal: { Federated: `arn:aws:iam::${account}:oidc-provider/directory` }, Action: 'sts:AssumeRoleWithWebIdentity', Condition: { 'ForAnyValue:StringEquals': { 'directory:groups': 'admins' } } }] });
  const accounts = ids.map((id, number) => `[[accounts]]\nid = "${id}"\nname = "Account ${number}"\n`).join('');
  const roles = ids.map((id) => [1, 2, 3, 4, 5].map((role) => `[[roles]]\naccount = "${id}"\nname = "Role${role}"\ntrust_policy = '''${trust(id)}'''\n`).join('')).join('');
  const applied = many.apply(fs.readFileSync(path.join(e2e.root, 'config/demo.toml'), 'utf8') + accounts + roles, '--new-passwords');
  await many.start();
  try {
    const page = await browser();
    await e2e.signInByPassword(page, many, JANE, applied.passwords[JANE]);
    await page.getByPlaceholder('Search 2504 roles').waitFor();
    await page.keyboard.press('/');
    await page.keyboard.type('account 499 role5');
    assert.equal(await page.locator('[data-account] [data-role]:visible').count(), 1);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Roles', exact: true }).waitFor();
  } finally {
    await many.kill('SIGTERM');
  }
});
