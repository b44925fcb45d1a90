// People in a real browser: three identity sources, the portal, credentials, the console, the command line.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import path from 'node:path';
import { axe, fillLogin, launch } from '../testbed/browser/browser.mjs';
import * as e2e from './harness.mjs';

const { MANAGEMENT, WORKLOADS } = e2e;
let broker, saml, oidc, passwords, metadata;
const browsers = [];

async function browser(options) {
  const opened = await launch(options);
  browsers.push(opened);
  return opened;
}

before(async () => {
  broker = new e2e.Broker(await e2e.freePort());
  [saml, oidc] = await Promise.all([
    e2e.testbed('idp-simplesamlphp.sh', '--host', 'idp.localhost', '--sign', 'assertion', '--nameid', 'email', '--require-signed'),
    e2e.testbed('op-panva.sh', '--redirect-uri', `${broker.url}/oidc/cloud/callback`),
  ]);
  const document = e2e.organization({
    metadataFile: saml.info.IDP_METADATA_FILE, issuer: oidc.info.OP_ISSUER, clientSecret: oidc.info.OP_CLIENT_SECRET,
  });
  ({ passwords } = broker.apply(document, '--new-passwords'));
  await broker.start();
  metadata = path.join(e2e.folder(), 'sp.xml');
  fs.writeFileSync(metadata, await (await fetch(`${broker.url}/saml/metadata`)).text());
  saml.command('add-sp', metadata);
});

after(async () => {
  await Promise.all(browsers.map((opened) => opened.close()));
  await broker?.kill('SIGTERM');
  await Promise.all([saml?.stop(), oidc?.stop()]);
});

test('SAML: alice sees exactly the roles of her groups, and her credentials work in both AWS CLIs', async () => {
  const { page } = await browser();
  await page.goto(broker.url);
  await page.getByLabel('Work e-mail').fill('alice@corp.test');
  await page.getByRole('button', { name: 'Continue' }).click();
  await fillLogin(page, 'alice', e2e.passwordOf('alice'));
  await page.getByRole('heading', { name: 'Your roles' }).waitFor();
  assert.deepEqual(await e2e.offeredRoles(page), [`${MANAGEMENT}/SamlAdmin`, `${WORKLOADS}/SamlDeveloper`]);
  await page.getByText('Why do I have this?').first().click();
  await page.getByText('statement “In”: saml:groups is').first().waitFor();
  const lines = await e2e.copyShellLines(page, 'SamlDeveloper');
  for (const program of [process.env.E2E_AWS_V1, '/usr/bin/aws']) {
    const who = e2e.callerIdentity(program, lines);
    assert.equal(who.Arn, `arn:aws:sts::${WORKLOADS}:assumed-role/SamlDeveloper/alice@corp.test`);
    assert.equal(who.Account, WORKLOADS);
  }
});

test('SAML: bob, in other groups, sees other roles', async () => {
  const { page } = await browser();
  await page.goto(`${broker.url}/sign-in/corp`);
  await fillLogin(page, 'bob', e2e.passwordOf('bob'));
  await page.getByRole('heading', { name: 'Your roles' }).waitFor();
  assert.deepEqual(await e2e.offeredRoles(page), [`${WORKLOADS}/SamlReadOnly`]);
});

test('OIDC: carol sees her role, and her credentials work', async () => {
  const { page } = await browser();
  await page.goto(`${broker.url}/sign-in`);
  await page.getByRole('link', { name: 'Cloud login' }).click();
  await fillLogin(page, 'carol', e2e.passwordOf('carol'));
  await page.getByRole('heading', { name: 'Your roles' }).waitFor();
  assert.deepEqual(await e2e.offeredRoles(page), [`${WORKLOADS}/CloudDeveloper`]);
  const who = e2e.callerIdentity(process.env.E2E_AWS_V1, await e2e.copyShellLines(page, 'CloudDeveloper'));
  assert.equal(who.Arn, `arn:aws:sts::${WORKLOADS}:assumed-role/CloudDeveloper/carol@corp.test`);
});

test('OIDC: somebody without a matching group is told so, and offered nothing', async () => {
  const { page } = await browser();
  await page.goto(`${broker.url}/sign-in/cloud`);
  await fillLogin(page, 'dave', e2e.passwordOf('dave'));
  await page.getByRole('heading', { name: 'No role lets you in yet' }).waitFor();
  assert.match(await page.locator('main').innerText(), /Dávid O'Něil <&> "Q"/);
});

test('OIDC: an e-mail address the provider does not vouch for is nobody\'s name', async () => {
  const [alice, mallory] = [await browser(), await browser()];
  await alice.page.goto(`${broker.url}/sign-in/cloud`);
  await fillLogin(alice.page, 'alice', e2e.passwordOf('alice'));
  await alice.page.getByRole('heading', { name: 'Your roles' }).waitFor();
  assert.deepEqual(await e2e.offeredRoles(alice.page), [`${WORKLOADS}/CloudByMail`, `${WORKLOADS}/CloudDeveloper`]);
  await mallory.page.goto(`${broker.url}/sign-in/cloud`);
  await fillLogin(mallory.page, 'mallory', e2e.passwordOf('mallory'));
  await mallory.page.getByRole('heading', { name: 'No role lets you in yet' }).waitFor();
});

test('directory: a wrong password is refused, the right one signs in, credentials work', async () => {
  const { page } = await browser();
  await page.goto(`${broker.url}/sign-in/people`);
  for (const user of ['staff@e2e.test', 'nobody@e2e.test']) {
    await page.getByLabel('User name or e-mail').fill(user);
    await page.getByLabel('Password', { exact: true }).fill('not the password');
    await page.getByRole('button', { name: 'Sign in' }).click();
    assert.equal(await page.getByRole('alert').innerText(), 'The name or the password is not right.');
  }
  await e2e.signInDirectory(page, broker, 'staff@e2e.test', passwords['staff@e2e.test']);
  assert.deepEqual(await e2e.offeredRoles(page), [`${MANAGEMENT}/NoIam`]);
  const who = e2e.callerIdentity(process.env.E2E_AWS_V1, await e2e.copyShellLines(page, 'NoIam'));
  assert.equal(who.Arn, `arn:aws:sts::${MANAGEMENT}:assumed-role/NoIam/staff@e2e.test`);
});

test('recorder: somebody who can not get in reads a reference, and an administrator finds every check of it', async () => {
  const stranger = await browser();
  await stranger.page.goto(`${broker.url}/oidc/cloud/callback?state=never-made&code=x`);
  const reference = await stranger.page.locator('strong.mono').innerText();
  assert.match(reference, /^[0-9A-F]{8}$/);
  const { page } = await browser();
  await e2e.signInDirectory(page, broker, 'root@e2e.test', passwords['root@e2e.test']);
  await page.getByRole('button', { name: /Open the console as DirectoryAdmin/ }).click();
  await page.getByRole('link', { name: 'Sign-ins' }).click();
  await page.getByLabel('Reference').fill(reference.toLowerCase());
  await page.getByRole('button', { name: 'Show' }).click();
  await page.getByText('step_unknown').waitFor();
  assert.equal(await page.locator('.attempt').count(), 1);
  assert.deepEqual(await axe(page), []);
});

test('sources: an administrator tries one, and sees claims and roles without becoming somebody else', async () => {
  const { page } = await browser();
  await e2e.signInDirectory(page, broker, 'root@e2e.test', passwords['root@e2e.test']);
  await page.getByRole('button', { name: /Open the console as DirectoryAdmin/ }).click();
  await page.getByRole('link', { name: 'Sources' }).click();
  assert.deepEqual(await axe(page), []);
  await page.locator('#text').fill(`${oidc.info.OP_ISSUER}/.well-known/openid-configuration`);
  await page.getByRole('button', { name: 'See what it comes to' }).click();
  await page.getByText('Or write it into the organization').click();
  await page.getByText('type = "oidc"').waitFor();
  await page.locator('#text').fill('<x/>');
  await page.getByRole('button', { name: 'See what it comes to' }).click();
  await page.getByRole('alert').getByText('describes no identity provider').waitFor();
  await page.getByRole('button', { name: 'Test sign-in with Corp SSO' }).click();
  await fillLogin(page, 'alice', e2e.passwordOf('alice'));
  await page.getByRole('link', { name: 'Alice Archer via corp' }).first().click();
  await page.getByText('Signed by the provider, and two verifiers agree').waitFor();
  await page.getByRole('heading', { name: 'Roles these claims lead to' }).waitFor();
  const main = await page.locator('main').innerText();
  assert.match(main, /SamlAdmin/);
  assert.match(main, /saml:groups\s+aws-admins, developers, eng-all/);
  assert.deepEqual(await axe(page), []);
  await page.goto(`${broker.url}/portal`);
  assert.ok((await e2e.offeredRoles(page)).includes(`${MANAGEMENT}/DirectoryAdmin`), 'still the administrator');
});

test('sources: a partner connects a provider by a setup link alone; its mapping is set, and it is removed', async () => {
  const partner = await e2e.testbed('idp-simplesamlphp.sh', '--host', 'partner.localhost', '--sign', 'assertion');
  try {
    const { page } = await browser();
    await e2e.signInDirectory(page, broker, 'root@e2e.test', passwords['root@e2e.test']);
    await page.getByRole('button', { name: /Open the console as DirectoryAdmin/ }).click();
    await page.getByRole('link', { name: 'Sources' }).click();
    await page.getByLabel('Name in addresses').fill('part ner');
    await page.getByRole('button', { name: 'Make a setup link' }).click();
    await page.getByRole('alert').getByText('A name has').waitFor();
    await page.getByLabel('Name in addresses').fill('partner');
    await page.getByLabel('Text of its button').fill('Partner SSO');
    await page.getByRole('button', { name: 'Make a setup link' }).click();
    const link = await page.locator('#link').innerText();

    const theirs = (await browser()).page;
    await theirs.goto(link);
    assert.deepEqual(await axe(theirs), []);
    const ours = await theirs.locator('dd').first().innerText();
    assert.match(ours, /saml\/metadata/);
    await theirs.locator('#text').fill('<x/>');
    await theirs.getByRole('button', { name: 'Check' }).click();
    await theirs.getByRole('alert').getByText('describes no identity provider').waitFor();
    await theirs.locator('#text').fill(fs.readFileSync(partner.info.IDP_METADATA_FILE, 'utf8'));
    await theirs.getByRole('button', { name: 'Check' }).click();
    await theirs.getByText(partner.info.IDP_ENTITY_ID ?? 'partner.localhost').first().waitFor();
    assert.deepEqual(await axe(theirs), []);
    await theirs.getByRole('button', { name: 'Connect' }).click();
    await theirs.getByRole('heading', { name: 'Connected' }).waitFor();
    await theirs.goto(link);
    await theirs.getByText('This setup link was used or replaced').waitFor();
    const { stdout, stderr } = broker.running.output;
    assert.ok(!(stdout + stderr).includes(link.split('/').pop()), 'the token of a link is in no log');

    partner.command('add-sp', metadata);
    await theirs.goto(`${broker.url}/sign-in`);
    await theirs.getByRole('link', { name: 'Partner SSO' }).click();
    await fillLogin(theirs, 'bob', e2e.passwordOf('bob'));
    await theirs.getByRole('heading', { name: 'No role lets you in yet' }).waitFor();

    await page.getByRole('link', { name: 'Sign-ins' }).click();
    await page.getByRole('link', { name: /via partner/ }).first().click();
    await page.getByLabel('Attribute mapping').fill('[identity_sources.attributes]\nteam = "groups"');
    await page.getByRole('button', { name: 'See what it comes to' }).click();
    await page.locator('dt', { hasText: 'saml:team' }).waitFor();
    await page.getByRole('button', { name: 'Use this mapping' }).click();
    await page.getByText('has this mapping from now on').waitFor();
    await page.getByRole('link', { name: 'Sources' }).click();
    const card = page.locator('#source-partner');
    await card.getByText('saml:team').waitFor();
    await card.getByText('Remove', { exact: true }).click();
    await card.getByRole('button', { name: 'Remove Partner SSO' }).click();
    await card.waitFor({ state: 'detached' });
    await theirs.goto(`${broker.url}/portal`);
    await theirs.getByRole('heading', { name: 'Sign in' }).waitFor();
    assert.equal(await theirs.getByText('Partner SSO').count(), 0);
  } finally {
    await partner.stop();
  }
});

test('console: an iam:* role edits trust policies and dry-runs; a role without iam is refused with the reason', async () => {
  const { page } = await browser();
  await e2e.signInDirectory(page, broker, 'root@e2e.test', passwords['root@e2e.test']);
  await page.getByRole('button', { name: /Open the console as IamOnly/ }).click();
  await page.getByRole('heading', { name: 'Roles', exact: true }).waitFor();
  assert.match(await page.locator('header').innerText(), /IamOnly/);
  await page.getByRole('link', { name: 'NoIam', exact: true }).click();

  // A document that does not parse is refused with its place, and what was typed stays.
  const editor = page.getByLabel('Trust policy (JSON)');
  const save = async () => {
    await page.getByRole('button', { name: 'Preview', exact: true }).click();
    await page.getByRole('button', { name: 'Save trust policy' }).click();
  };
  await page.getByRole('button', { name: 'Edit as JSON' }).click();
  const original = await editor.inputValue();
  await editor.fill(original.replace('"Allow"', '"allow"'));
  await page.getByRole('button', { name: 'Preview', exact: true }).click();
  assert.match(await page.getByRole('alert').innerText(), /\/Statement\/0\/Effect/);
  assert.match(await editor.inputValue(), /"allow"/);
  await editor.fill(original.replace('"staff"', '"nobody"'));
  await save();
  await page.getByText('The new trust policy decides from now on.').waitFor();

  // Dry-run with pasted claims, then with the sign-in that just happened.
  await page.getByRole('link', { name: 'Dry-run first' }).click();
  await page.getByLabel('Identity provider').selectOption(`arn:aws:iam::${MANAGEMENT}:oidc-provider/directory`);
  await page.getByLabel('Claims, as condition keys (JSON)').fill('{"directory:groups": ["Nobody"]}');
  await page.getByRole('button', { name: 'Dry-run' }).click();
  await page.getByRole('heading', { name: /may not take NoIam/ }).waitFor();
  await page.getByText('differs only in letter case').waitFor();
  await page.getByLabel('Claims, as condition keys (JSON)').fill('');
  const option = await page.locator('#sign_in option', { hasText: 'Root Admin' }).first().getAttribute('value');
  await page.getByLabel('A recent sign-in').selectOption(option);
  await page.getByLabel('Trust policy (JSON)').fill(original);
  await page.getByRole('button', { name: 'Dry-run' }).click();
  await page.getByRole('heading', { name: 'Root Admin may take NoIam' }).waitFor();

  // Put it back, look for what the role may not see, then enter as a role without iam.
  await page.goto(`${broker.url}/admin/roles/NoIam?view=json`);
  await page.getByLabel('Trust policy (JSON)').fill(original);
  await save();
  await page.getByText('The new trust policy decides from now on.').waitFor();
  await page.getByRole('link', { name: 'Audit' }).click();
  await page.getByText('because no identity-based policy allows the cloudtrail:LookupEvents action').waitFor();
  await page.getByRole('button', { name: 'Leave console' }).click();
  await page.getByRole('button', { name: /Open the console as NoIam/ }).click();
  await page.getByRole('heading', { name: 'Your role may not do this' }).waitFor();
  await page.getByText('because no identity-based policy allows the iam:ListRoles action').waitFor();
});

test('sign-in steps belong to one browser: a link taken from another browser signs nobody in', async () => {
  const [victim, attacker] = [await browser(), await browser()];
  await attacker.page.goto(`${broker.url}/sign-in/people`);
  const handle = await attacker.page.locator('input[name=handle]').inputValue();
  await victim.page.goto(`${broker.url}/sign-in/people`);
  await victim.page.locator('input[name=handle]').evaluate((input, value) => { input.value = value; }, handle);
  await victim.page.getByLabel('User name or e-mail').fill('staff@e2e.test');
  await victim.page.getByLabel('Password', { exact: true }).fill(passwords['staff@e2e.test']);
  await victim.page.getByRole('button', { name: 'Sign in' }).click();
  await victim.page.getByText('was begun in another browser').waitFor();
});

test('command line: login by browser and by device code, whoami, credential-process, console link', async () => {
  const { page } = await browser();
  await e2e.signInDirectory(page, broker, 'root@e2e.test', passwords['root@e2e.test']);
  const env = { DAYPASS_HOME: path.join(e2e.folder(), 'home'), DAYPASS_URL: broker.url };

  assert.match(e2e.run(e2e.daypass, ['whoami'], { env, expect: 3 }).stderr, /not signed in to \S+\n.*daypass login/);
  await e2e.daypassLogin(page, env);
  await page.getByText('Go back to your terminal').waitFor();

  const roles = JSON.parse(e2e.run(e2e.daypass, ['whoami', '--json'], { env }).stdout).roles.map((line) => line.role);
  assert.deepEqual(roles.sort(), ['DirectoryAdmin', 'IamOnly', 'NoIam']);
  const ask = ['--account', MANAGEMENT, '--role', 'NoIam'];
  const first = e2e.run(e2e.daypass, ['credential-process', ...ask], { env }).stdout;
  assert.equal(JSON.parse(first).Version, 1);
  assert.equal(e2e.run(e2e.daypass, ['credential-process', ...ask], { env }).stdout, first, 'cached');
  assert.match(e2e.run(e2e.daypass, ['credential-process', '--account', MANAGEMENT, '--role', 'SamlAdmin'], { env, expect: 4 }).stderr, /may not take this role/);

  // The SDK's own way in: credential_process.
  const config = path.join(e2e.folder(), 'config');
  const { writeFileSync } = await import('node:fs');
  writeFileSync(config, `[profile p]\nregion = us-east-1\ncredential_process = ${e2e.daypass} credential-process ${ask.join(' ')}\n`);
  const who = JSON.parse(e2e.run('/usr/bin/aws', ['sts', 'get-caller-identity', '--output', 'json', '--endpoint-url', broker.url], {
    env: { ...env, AWS_CONFIG_FILE: config, AWS_PROFILE: 'p', AWS_SHARED_CREDENTIALS_FILE: '/dev/null' },
  }).stdout);
  assert.equal(who.Arn, `arn:aws:sts::${MANAGEMENT}:assumed-role/NoIam/root@e2e.test`);

  // A console link opens the console in any browser, once.
  const link = e2e.run(e2e.daypass, ['console', '--account', MANAGEMENT, '--role', 'DirectoryAdmin', '--print'], { env }).stdout.trim();
  const other = await browser();
  await other.page.goto(link);
  await other.page.getByRole('heading', { name: 'Roles', exact: true }).waitFor();
  assert.match(await other.page.locator('header').innerText(), /DirectoryAdmin/);
  const third = await browser();
  await third.page.goto(link);
  await third.page.getByText('was used before').waitFor();

  // By device code, refused and approved.
  for (const [button, code, words] of [['Refuse', 4, /refused in the browser/], ['Approve', 0, /Signed in to/]]) {
    const device = e2e.start(e2e.daypass, ['login', '--device'], { env });
    const user_code = await e2e.until('the code', () => /[A-Z]{4}-[A-Z]{4}/.exec(device.output.stderr)?.[0]);
    await page.goto(`${broker.url}/device`);
    await page.getByLabel('The code your terminal shows').fill(user_code.toLowerCase().replace('-', ' '));
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByRole('button', { name: button }).click();
    await page.getByRole('status').waitFor();
    const done = await device.ended;
    assert.equal(done.code, code);
    assert.match(done.stderr, words);
  }
});

test('signing out ends the session', async () => {
  const { page } = await browser();
  await e2e.signInDirectory(page, broker, 'staff@e2e.test', passwords['staff@e2e.test']);
  const cookies = await page.context().cookies();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: /Sign in/ }).waitFor();
  await page.context().addCookies(cookies);
  await page.goto(`${broker.url}/portal`);
  await page.getByRole('heading', { name: /Sign in/ }).waitFor();
});
