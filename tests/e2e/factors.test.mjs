// Second factors in a real browser, with an authenticator inside it: passkeys, codes, recovery, starting anew.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fs from 'node:fs';
import path from 'node:path';
import { axe, launch, virtualAuthenticator } from '../testbed/browser/browser.mjs';
import * as e2e from './harness.mjs';

const ACCOUNT = e2e.MANAGEMENT;
const trust = (condition) => JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Principal: { Federated: `arn:aws:iam::${ACCOUNT}:oidc-provider/directory` }, Action: 'sts:AssumeRoleWithWebIdentity', Condition: condition }],
});
const organization = (required) => `
[organization]
name = "Factors"
management_account = "${ACCOUNT}"
[[accounts]]
id = "${ACCOUNT}"
name = "Main"
[[identity_sources]]
name = "people"
type = "directory"
label = "Password"
second_factor = { required = "${required}" }
[[groups]]
name = "admins"
[[users]]
name = "jane@e2e.test"
email = "jane@e2e.test"
display_name = "Jane Doe"
[[users]]
name = "root@e2e.test"
email = "root@e2e.test"
display_name = "Root"
groups = ["admins"]
[[roles]]
account = "${ACCOUNT}"
name = "Admin"
attached_policies = ["arn:aws:iam::aws:policy/AdministratorAccess"]
trust_policy = '''${trust({ 'ForAnyValue:StringEquals': { 'directory:groups': 'admins' } })}'''
[[roles]]
account = "${ACCOUNT}"
name = "Careful"
attached_policies = ["arn:aws:iam::aws:policy/AdministratorAccess"]
trust_policy = '''${trust({ Bool: { 'aws:MultiFactorAuthPresent': 'true' }, NumericLessThan: { 'aws:MultiFactorAuthAge': '900' } })}'''
`;

let broker, passwords;
const browsers = [];
let jane, recovery;

async function browser(options) {
  const opened = await launch(options);
  browsers.push(opened);
  return opened;
}

async function password(page, user) {
  await page.goto(`${broker.url}/sign-in`);
  await page.getByLabel('User name or e-mail').fill(user);
  await page.getByLabel('Password', { exact: true }).fill(passwords[user]);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

const openCareful = (page) => page.getByRole('button', { name: /Open the console as Careful/ }).click();
const signOut = async (page) => {
  await page.goto(`${broker.url}/portal`);
  await page.getByRole('button', { name: 'Sign out', exact: true }).click();
  await page.getByLabel('User name or e-mail').waitFor();
};

before(async () => {
  broker = new e2e.Broker(await e2e.freePort());
  // Passkeys belong to a name; an address has none.
  broker.url = `http://localhost:${broker.port}`;
  ({ passwords } = broker.apply(organization('never'), '--new-passwords'));
  await broker.start();
});

after(async () => {
  await Promise.all(browsers.map((opened) => opened.close()));
  await broker?.kill('SIGTERM');
});

test('a role asks for a second factor: the first passkey is made, and the person goes on where they were', async () => {
  jane = await browser();
  const { page } = jane;
  await virtualAuthenticator(page);
  await password(page, 'jane@e2e.test');
  await page.getByText('asks for a second factor').waitFor();
  await openCareful(page);
  await page.getByRole('heading', { name: 'Set up a second factor' }).waitFor();
  assert.deepEqual(await axe(page), []);
  await page.getByLabel('What you call it').first().fill('Laptop');
  await page.getByRole('button', { name: 'Make a passkey' }).click();
  await page.getByRole('heading', { name: 'Keep your recovery codes' }).waitFor();
  assert.deepEqual(await axe(page), []);
  recovery = (await page.locator('#codes').textContent()).trim().split('\n');
  assert.equal(recovery.length, 10);
  await page.getByRole('button', { name: 'I have them; continue' }).click();
  await page.getByRole('heading', { name: 'Roles', exact: true }).waitFor();
});

test('the passkey alone signs in, without a name', async () => {
  const { page } = jane;
  await signOut(page);
  await page.getByRole('link', { name: 'Use a passkey instead' }).click();
  assert.deepEqual(await axe(page), []);
  await page.getByRole('button', { name: 'Use a passkey' }).click();
  await page.getByRole('heading', { name: 'Your roles' }).waitFor();
  assert.equal(await page.getByText('asks for a second factor').count(), 0, 'it was given at the sign-in');
});

test('step-up: the role asks, the passkey is given, and the console opens', async () => {
  const { page } = jane;
  await signOut(page);
  await password(page, 'jane@e2e.test');
  await openCareful(page);
  await page.getByRole('heading', { name: 'Show that it’s you' }).waitFor();
  assert.deepEqual(await axe(page), []);
  await page.getByRole('button', { name: 'Use your passkey' }).click();
  await page.getByRole('heading', { name: 'Roles', exact: true }).waitFor();
});

test('who has a factor is asked at the sign-in; a recovery code works once', async () => {
  broker.apply(organization('enrolled'));
  for (const [code, right] of [['aaaa-bbbb-cccc-dddd', false], [recovery[0], true], [recovery[0], false]]) {
    const { page } = await browser();
    await e2e.until('the directory asks', async () => {
      await page.context().clearCookies();
      await password(page, 'jane@e2e.test');
      return page.url().endsWith('/second-factor');
    });
    await page.getByLabel('Recovery code').fill(code);
    await page.getByRole('button', { name: 'Continue' }).click();
    if (right) await page.getByRole('heading', { name: 'Your roles' }).waitFor();
    else await page.getByRole('alert').getByText('That code is not right.').waitFor();
  }
});

test('the security page: factors, recovery codes, and sessions that can be ended', async () => {
  const { page } = jane;
  await page.goto(`${broker.url}/security`);
  assert.deepEqual(await axe(page), []);
  await page.getByText('9 recovery codes are left').waitFor();
  await page.getByText('Laptop').waitFor();
  const there = (await browser()).page;
  await password(there, 'jane@e2e.test');
  await there.getByLabel('Recovery code').fill(recovery[1]);
  await there.getByRole('button', { name: 'Continue' }).click();
  await there.getByRole('heading', { name: 'Your roles' }).waitFor();
  await page.reload();
  await page.getByRole('button', { name: 'Sign out everywhere else' }).click();
  await page.getByText('this one').waitFor();
  await there.goto(`${broker.url}/portal`);
  await there.getByLabel('User name or e-mail').waitFor();
});

test('lost: an administrator gives a link, the person starts anew with an app; without JavaScript', async () => {
  const admin = (await browser()).page;
  await password(admin, 'root@e2e.test');
  await admin.getByRole('button', { name: /Open the console as Admin / }).click();
  await admin.getByRole('link', { name: 'Sign-ins' }).click();
  await admin.getByRole('link', { name: /Jane Doe/ }).first().click();
  const subject = await admin.locator('dt', { hasText: 'directory:sub' }).locator('xpath=following-sibling::dd[1]').innerText();
  await admin.getByRole('link', { name: 'Sessions' }).click();
  await admin.getByLabel('Person').fill(`people:${subject}`);
  await admin.getByRole('button', { name: 'Show' }).click();
  await admin.getByText('Laptop').waitFor();
  assert.deepEqual(await axe(admin), []);
  await admin.getByRole('button', { name: 'Lost? Make a link to start anew' }).click();
  const link = await admin.locator('#reset').innerText();

  const { page } = await browser({ javaScript: false });
  await page.goto(link);
  await password(page, 'jane@e2e.test');
  await page.getByText('You start anew').waitFor();
  const seed = await page.locator('.seed').innerText();
  await page.getByLabel('The code it shows').fill('000000');
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByRole('alert').getByText('not right').waitFor();
  const again = await page.locator('.seed').innerText();
  assert.equal(seed, again, 'who mistypes need not scan again');
  const code = e2e.totp(again);
  await page.getByLabel('The code it shows').fill(code);
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByRole('heading', { name: 'Keep your recovery codes' }).waitFor();
  await page.getByRole('button', { name: 'I have them; continue' }).click();
  await page.getByRole('heading', { name: 'Your roles' }).waitFor();

  // The code of the enrolment is used up, and the old passkey is nobody's.
  const second = (await browser({ javaScript: false })).page;
  await password(second, 'jane@e2e.test');
  await second.getByLabel('Code of your authenticator app').fill(code);
  await second.getByRole('button', { name: 'Continue' }).click();
  await second.getByRole('alert').waitFor();
  await signOut(jane.page);
  await jane.page.getByRole('link', { name: 'Use a passkey instead' }).click();
  await jane.page.getByRole('button', { name: 'Use a passkey' }).click();
  await jane.page.getByRole('alert').getByText('not known here').waitFor();
  const { stdout, stderr } = broker.running.output;
  assert.ok(!(stdout + stderr).includes(link.split('/').pop()), 'the token of a link is in no log');
});

// Chromium's own authenticator has a certificate that it issues to itself. An authority of that name and key is made of it.
async function maker() {
  const { page } = await browser();
  await page.goto(`${broker.url}/sign-in`);
  await virtualAuthenticator(page);
  const attestation = Buffer.from(await page.evaluate(async () => {
    const rp = { name: 'x' };
    const user = { id: new Uint8Array(16), name: 'x', displayName: 'x' };
    const made = await navigator.credentials.create({ publicKey: { challenge: new Uint8Array(32), rp, user, pubKeyCredParams: [{ type: 'public-key', alg: -7 }], attestation: 'direct' } });
    return [...new Uint8Array(made.response.attestationObject)];
  }));
  // CBOR: x5c is a list of one byte string; the AAGUID stands behind 37 bytes of authData.
  const certificate = attestation.indexOf('x5c') + 3;
  const der = attestation.subarray(certificate + 4, certificate + 4 + attestation.readUInt16BE(certificate + 2));
  const at = attestation.indexOf('authData') + 8 + 2 + 37;
  const aaguid = attestation.subarray(at, at + 16).toString('hex').replace(/(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  const folder = e2e.folder();
  const file = (name) => path.join(folder, name);
  fs.writeFileSync(file('leaf.der'), der);
  fs.writeFileSync(file('ca.cnf'), 'basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign\n');
  const openssl = (...words) => e2e.run('openssl', words).stdout;
  fs.writeFileSync(file('key.pub'), openssl('x509', '-inform', 'DER', '-in', file('leaf.der'), '-noout', '-pubkey'));
  const authority = (name, subject, ...key) => {
    openssl('x509', '-new', ...key, '-subj', subject, '-CA', file('signer.pem'), '-CAkey', file('signer.key'), '-days', '3650', '-extfile', file('ca.cnf'), '-out', file(name));
    return fs.readFileSync(file(name), 'utf8');
  };
  openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', file('signer.key'), '-out', file('signer.pem'), '-subj', '/CN=Signer', '-days', '3650');
  const own = authority('own.pem', '/C=US/O=Chromium/OU=Authenticator Attestation/CN=Batch Certificate', '-force_pubkey', file('key.pub'));
  return { aaguid, own, stranger: fs.readFileSync(file('signer.pem'), 'utf8') };
}

test('only authenticators that the organization allows are enrolled: their maker vouches for them', async () => {
  const { aaguid, own, stranger } = await maker();
  const allowing = (certificate, model) => organization('never').replace('second_factor = { required = "never" }', `[identity_sources.second_factor]\nrequired = "never"\n[[identity_sources.second_factor.authenticators]]\nname = "Test key"\naaguid = "${model}"\ncertificate = '''${certificate}'''`);
  const other = '00000000-0000-0000-0000-000000000001';
  for (const [certificate, model, accepted] of [[stranger, aaguid, false], [own, other, false], [own, aaguid, true]]) {
    broker.apply(allowing(certificate, model));
    const { page } = await browser();
    await virtualAuthenticator(page);
    await password(page, 'root@e2e.test');
    await page.goto(`${broker.url}/second-factor/enrol`);
    await page.getByText('Your organization allows: Test key.').waitFor();
    assert.equal(await page.getByRole('heading', { name: 'Authenticator app' }).count(), 0);
    await page.getByRole('button', { name: 'Make a passkey' }).click();
    if (accepted) await page.getByRole('heading', { name: 'Keep your recovery codes' }).waitFor();
    else await page.getByRole('alert').getByText('not one of those that your organization allows').waitFor();
  }
});
