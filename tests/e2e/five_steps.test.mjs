// The five steps of the README, as somebody does them who never saw the product: SimpleSAMLphp is connected in the console, a
// group is mapped to a role, and a colleague gets it.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fillLogin, launch } from '../testbed/browser/browser.mjs';
import * as e2e from './harness.mjs';

let broker, saml, passwords;
const browsers = [];

async function browser() {
  const opened = await launch();
  browsers.push(opened);
  return opened.page;
}

before(async () => {
  ({ broker, passwords } = await e2e.demo());
  saml = await e2e.testbed('idp-simplesamlphp.sh');
});

after(async () => {
  await Promise.all(browsers.map((opened) => opened.close()));
  await broker?.kill('SIGTERM');
  await saml?.stop();
});

test('the five steps of the README, from an identity provider to a colleague with a role', async () => {
  // 1. The console, as the person of the demo.
  const admin = await browser();
  await e2e.signInByPassword(admin, broker, 'jane@example.com', passwords['jane@example.com']);
  await admin.getByRole('button', { name: 'Open the console as Administrator' }).click();
  // 2. The provider gets our metadata.
  await admin.getByRole('link', { name: 'Sources' }).click();
  const address = await admin.getByText(/\/saml\/metadata$/).first().innerText();
  const metadata = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'daypass-')), 'sp.xml');
  fs.writeFileSync(metadata, await (await fetch(address)).text());
  saml.command('add-sp', metadata);
  // 3. We get the provider's.
  await admin.locator('#text').fill(fs.readFileSync(saml.info.IDP_METADATA_FILE, 'utf8'));
  await admin.getByRole('button', { name: 'See what it comes to' }).click();
  await admin.getByLabel('Name in addresses').first().fill('corp');
  await admin.getByLabel('Text of its button').first().fill('Corp SSO');
  await admin.getByRole('button', { name: 'Create' }).click();
  await admin.getByRole('button', { name: 'Test sign-in with Corp SSO' }).click();
  await fillLogin(admin, 'alice', e2e.passwordOf('alice'));
  await admin.getByRole('link', { name: /via corp/ }).first().click();
  const claim = await admin.locator('dt', { hasText: /^saml:attribute\/.*groups$/i }).first().innerText();
  // 4. A role for a group.
  await admin.getByRole('link', { name: 'Roles', exact: true }).click();
  await admin.getByRole('link', { name: 'New role' }).click();
  await admin.getByLabel('Name', { exact: true }).fill('Operators');
  await admin.getByLabel('who sign in with').selectOption('Corp SSO');
  await admin.getByLabel('and whose claim').fill(claim);
  await admin.getByLabel('has one of').fill('aws-admins');
  await admin.getByLabel('It may, to begin with').selectOption('look at roles and policies');
  await admin.getByRole('button', { name: 'Create' }).click();
  await admin.getByRole('heading', { name: 'Operators' }).waitFor();
  // 5. A colleague signs in, and has it; another is not in the group, and the console says why.
  const alice = await browser();
  await alice.goto(`${broker.url}/sign-in`);
  await alice.getByRole('link', { name: 'Corp SSO' }).click();
  await fillLogin(alice, 'alice', e2e.passwordOf('alice'));
  await alice.getByRole('button', { name: 'Open the console as Operators in Example Corp' }).click();
  await alice.getByRole('heading', { name: 'Roles', exact: true }).waitFor();
  const carol = await browser();
  await carol.goto(`${broker.url}/sign-in`);
  await carol.getByRole('link', { name: 'Corp SSO' }).click();
  await fillLogin(carol, 'carol', e2e.passwordOf('carol'));
  await carol.getByRole('heading', { name: 'No role lets you in yet' }).waitFor();
  await admin.getByRole('link', { name: 'Try a person' }).click();
  await admin.getByText('Somebody of another source').click();
  const option = await admin.locator('#sign_in option', { hasText: 'Carol' }).first().getAttribute('value');
  await admin.getByLabel('A recent sign-in').selectOption(option);
  await admin.getByRole('button', { name: 'Try' }).click();
  const line = admin.locator('.event', { hasText: 'Operators' });
  await line.getByText('one condition away').waitFor();
  await line.locator('summary').click();
  assert.match(await line.innerText(), /aws-admins/);
});
