// The built-in directory in a real browser: somebody is invited, sets a password, forgets it, changes it, and is let go.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fs from 'node:fs';
import path from 'node:path';
import { axe, launch } from '../testbed/browser/browser.mjs';
import * as e2e from './harness.mjs';

let broker, passwords, admin, kim, link;
const browsers = [];

async function browser(options) {
  const opened = await launch(options);
  browsers.push(opened);
  return opened.page;
}

const signIn = (page, user, password) => e2e.signInByPassword(page, broker, user, password);

before(async () => {
  ({ broker, passwords } = await e2e.demo());
});

after(async () => {
  await Promise.all(browsers.map((opened) => opened.close()));
  await broker?.kill('SIGTERM');
});

test('an administrator makes a group and invites somebody, who sets a password without JavaScript', async () => {
  admin = await browser();
  await signIn(admin, 'jane@example.com', passwords['jane@example.com']);
  await admin.getByRole('button', { name: /Open the console as Administrator in Example Corp/ }).click();
  await admin.getByRole('link', { name: 'People' }).click();
  assert.deepEqual(await axe(admin), []);
  await admin.getByLabel('New group').fill('auditors');
  await admin.getByRole('button', { name: 'Create' }).click();
  const invite = admin.locator('#invite');
  await invite.getByLabel('Name', { exact: true }).fill('Kim Park');
  await invite.getByLabel('E-mail', { exact: true }).fill('kim@example.com');
  await invite.getByLabel('Name to sign in with').fill('jane@example.com');
  await invite.getByLabel('auditors').check();
  await invite.getByRole('button', { name: 'Invite' }).click();
  await admin.getByRole('alert').getByText('already').waitFor();
  await invite.getByLabel('Name to sign in with').fill('kim@example.com');
  assert.ok(await invite.getByLabel('auditors').isChecked(), 'the form keeps what was typed');
  await invite.getByLabel('developers').check();
  await invite.getByRole('button', { name: 'Invite' }).click();
  link = await admin.locator('#link').innerText();

  kim = await browser({ javaScript: false });
  await kim.goto(link);
  await kim.getByLabel('New password').fill('kim@example.com');
  await kim.getByRole('button', { name: 'Set it' }).click();
  await kim.getByRole('alert').waitFor();
  await kim.getByLabel('New password').fill('three otters by the weir');
  await kim.getByRole('button', { name: 'Set it' }).click();
  await kim.getByRole('heading', { name: 'Your password is set' }).waitFor();
  await signIn(kim, 'kim@example.com', 'three otters by the weir');
  await kim.getByRole('heading', { name: 'Your roles' }).waitFor();
  assert.ok((await e2e.offeredRoles(kim)).length > 0, 'the group opens roles');
});

test('a password is changed by its owner, who is signed out everywhere', async () => {
  await kim.goto(`${broker.url}/security`);
  await kim.getByText('Change it').first().click();
  const change = async (current, password) => {
    await kim.getByLabel('The one you have now').fill(current);
    await kim.getByLabel('New password').fill(password);
    await kim.getByRole('button', { name: 'Change it' }).click();
  };
  await change('not this one', 'quiet harbour lamps');
  await kim.getByRole('alert').getByText('another one').waitFor();
  await kim.getByText('Change it').first().click();
  await change('three otters by the weir', 'quiet harbour lamps');
  await kim.getByLabel('User name or e-mail').waitFor();
  await signIn(kim, 'kim@example.com', 'three otters by the weir');
  await kim.getByRole('alert').waitFor();
  await signIn(kim, 'kim@example.com', 'quiet harbour lamps');
  await kim.getByRole('heading', { name: 'Your roles' }).waitFor();
});

test('who is disabled is out at once; the link of before is good for nothing', async () => {
  await admin.goto(`${broker.url}/admin/people?text=kim`);
  await admin.getByText('Kim Park').first().click();
  await admin.getByLabel('Disabled:').check();
  await admin.getByRole('button', { name: 'Save' }).click();
  await admin.getByText('disabled', { exact: true }).waitFor();
  assert.deepEqual(await axe(admin), []);
  await kim.goto(`${broker.url}/portal`);
  await kim.getByLabel('User name or e-mail').waitFor();
  await signIn(kim, 'kim@example.com', 'quiet harbour lamps');
  await kim.getByRole('alert').getByText('not right').waitFor();
  await kim.goto(link);
  await kim.getByText('This link was used').waitFor();
  const { stdout, stderr } = broker.running.output;
  assert.ok(!(stdout + stderr).includes(link.split('~').pop()), 'the token of a link is in no log');
});
