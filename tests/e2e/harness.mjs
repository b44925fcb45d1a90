// A broker, real identity providers and a real browser for one test file. Everything listens on free ports of 127.0.0.1,
// keeps its state in a folder of its own, and ends with the test process.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { fillLogin, launch } from '../testbed/browser/browser.mjs';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const daypass = process.env.DAYPASS ?? path.join(root, 'target/debug/daypass');
export const people = JSON.parse(fs.readFileSync(path.join(root, 'tests/testbed/users.json'), 'utf8'));
export const passwordOf = (uid) => people.find((person) => person.uid === uid).password;

// One for each program that was started.
process.setMaxListeners(100);
const folders = [];
process.on('exit', () => folders.forEach((folder) => fs.rmSync(folder, { recursive: true, force: true })));

export function folder() {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'daypass-e2e-'));
  fs.chmodSync(made, 0o711);
  folders.push(made);
  return made;
}

// A port that nobody else takes: it lies below those the kernel hands out by itself, and every test process of this machine
// claims its own by a file, since most are listened on only after the next one was chosen.
const claims = path.join(os.tmpdir(), 'daypass-e2e-ports');
const claimed = [];
process.on('exit', () => claimed.forEach((file) => fs.rmSync(file, { force: true })));

export async function freePort() {
  fs.mkdirSync(claims, { recursive: true });
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const file = path.join(claims, String(port));
    try { fs.writeFileSync(file, '', { flag: 'wx' }); } catch { continue; }
    claimed.push(file);
    const server = net.createServer();
    const free = await new Promise((resolve) => server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true)));
    if (!free) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

// Starts a testbed script; it ends when this process does, since its standard input closes then.
export async function testbed(script, ...options) {
  // Not removed when this process exits: the script still needs its pid files then.
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'daypass-e2e-testbed-'));
  fs.chmodSync(dir, 0o711);
  const child = spawn('bash', [path.join(root, 'tests/testbed', script), 'run', '--until-eof', '--dir', dir, '--port', await freePort(), ...options], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let log = '';
  child.stderr.on('data', (data) => { log += data; });
  const info = await new Promise((resolve, reject) => {
    let out = '';
    child.stdout.on('data', (data) => {
      out += data;
      if (/^TEST_USERS=.*\n/m.test(out)) resolve(Object.fromEntries(out.trim().split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)])));
    });
    child.on('exit', (code) => reject(new Error(`${script} ended with ${code}\n${log}`)));
  });
  const ended = new Promise((resolve) => child.on('exit', resolve));
  return {
    dir, info,
    command: (...words) => run('bash', [path.join(root, 'tests/testbed', script), words[0], '--dir', dir, ...words.slice(1)]),
    stop: async () => { child.stdin.end(); await ended; fs.rmSync(dir, { recursive: true, force: true }); },
  };
}

// Runs a program to its end; throws with its output when it fails.
export function run(program, words, options = {}) {
  const done = spawnSync(program, words, { encoding: 'utf8', timeout: 120_000, ...options, env: { ...process.env, ...options.env } });
  if (done.error) throw done.error;
  if (done.status !== (options.expect ?? 0)) {
    throw new Error(`${program} ${words.join(' ')} ended with ${done.status}\n${done.stdout}\n${done.stderr}`);
  }
  return done;
}

// The same without blocking: for programs that need this process meanwhile.
export function start(program, words, options = {}) {
  const child = spawn(program, words, { stdio: ['ignore', 'pipe', 'pipe'], ...options, env: { ...process.env, ...options.env } });
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (data) => { output.stdout += data; });
  child.stderr.on('data', (data) => { output.stderr += data; });
  const ended = new Promise((resolve) => child.on('exit', (code) => resolve({ code, ...output })));
  return { child, output, ended };
}

export async function until(what, attempt, milliseconds = 30_000) {
  const end = Date.now() + milliseconds;
  for (;;) {
    const value = await attempt();
    if (value) return value;
    if (Date.now() > end) throw new Error(`${what}: not within ${milliseconds} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export class Broker {
  constructor(port, data = folder()) {
    this.port = port;
    this.data = path.join(data, 'data');
    this.url = `http://127.0.0.1:${port}`;
  }

  env() {
    return { DAYPASS_DATA: this.data, DAYPASS_LISTEN: `127.0.0.1:${this.port}`, DAYPASS_PUBLIC_URL: this.url };
  }

  // Applies a document; returns new passwords by user name.
  apply(document, ...options) {
    const file = path.join(path.dirname(this.data), 'organization.toml');
    fs.writeFileSync(file, document);
    const done = run(daypass, ['apply', file, '--yes', ...options], { env: this.env() });
    const passwords = {};
    for (const line of (done.stdout.split('shown only now:')[1] ?? '').trim().split('\n')) {
      const [name, password] = line.trim().split(/\s+/);
      if (password) passwords[name] = password;
    }
    return { passwords, output: done.stdout };
  }

  // A command of the operator, on this broker's own store.
  command(...words) {
    return run(daypass, words, { env: this.env() }).stdout;
  }

  async start(env = {}, ...words) {
    this.running = start(daypass, ['serve', ...words], { env: { ...this.env(), ...env } });
    await until('the broker is ready', async () => {
      if (this.running.child.exitCode !== null) throw new Error(`the broker ended\n${this.running.output.stderr}`);
      try { return (await fetch(`${this.url}/readyz`)).ok; } catch { return false; }
    });
    process.once('exit', () => this.running.child.kill('SIGKILL'));
  }

  async kill(signal = 'SIGKILL') {
    this.running?.child.kill(signal);
    return this.running?.ended;
  }
}

// A wall clock that is so many seconds ahead, for a program started with it.
export const clockAhead = (seconds) => ({
  LD_PRELOAD: process.env.E2E_FAKETIME, FAKETIME: `+${seconds}`, FAKETIME_DONT_FAKE_MONOTONIC: '1', FAKETIME_DONT_RESET: '1',
});

// Runs a scenario of aws.py with what it needs, returns what it found.
export async function aws(scenario, input, env = {}) {
  const { child, output, ended } = start(process.env.E2E_PYTHON, [path.join(root, 'tests/e2e/aws.py'), scenario, JSON.stringify(input)], { env });
  const limit = setTimeout(() => { output.stderr += '\ntook more than 60 s'; child.kill('SIGKILL'); }, 60_000);
  const done = await ended;
  clearTimeout(limit);
  if (done.code !== 0) throw new Error(`aws.py ${scenario} ended with ${done.code}\n${done.stdout}\n${done.stderr}`);
  return JSON.parse(done.stdout);
}

// `aws sts get-caller-identity` with pasted shell lines, by a given AWS CLI.
export function callerIdentity(program, shellLines) {
  const script = `${shellLines}\nexec "$0" sts get-caller-identity --endpoint-url "$AWS_ENDPOINT_URL" --output json`;
  const clean = { AWS_CONFIG_FILE: '/dev/null', AWS_SHARED_CREDENTIALS_FILE: '/dev/null', AWS_EC2_METADATA_DISABLED: 'true' };
  return JSON.parse(run('bash', ['-c', script, program], { env: clean }).stdout);
}

// What a command of an AWS CLI comes to, with the shell lines of the portal.
export function awsWith(program, shellLines, args) {
  const script = `${shellLines}\nexec "$0" "$@" --endpoint-url "$AWS_ENDPOINT_URL" --output json`;
  const clean = { AWS_CONFIG_FILE: '/dev/null', AWS_SHARED_CREDENTIALS_FILE: '/dev/null', AWS_EC2_METADATA_DISABLED: 'true' };
  return spawnSync('bash', ['-c', script, program, ...args], { env: { ...process.env, ...clean }, encoding: 'utf8' });
}

const trust = (account, resource, action, condition) => JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Sid: 'In', Effect: 'Allow', Principal: { Federated: `arn:aws:iam::${account}:${resource}` }, Action: action, Condition: condition }],
});

export const MANAGEMENT = '111122223333';
export const WORKLOADS = '222233334444';

// Three sources, two accounts, roles for each source's claims.
export function organization({ metadataFile, issuer, clientSecret }) {
  const oidc = issuer.replace(/^https?:\/\//, '');
  const saml = (account, group) => trust(account, 'saml-provider/corp', 'sts:AssumeRoleWithSAML', { 'ForAnyValue:StringEquals': { 'saml:groups': group } });
  const web = (account, group) => trust(account, `oidc-provider/${oidc}`, 'sts:AssumeRoleWithWebIdentity', { 'ForAnyValue:StringEquals': { [`${oidc}:groups`]: group } });
  const directory = (account, group) => trust(account, 'oidc-provider/directory', 'sts:AssumeRoleWithWebIdentity', { 'ForAnyValue:StringEquals': { 'directory:groups': group } });
  const administrator = '["arn:aws:iam::aws:policy/AdministratorAccess"]';
  const role = (account, name, policy, more = '') => `
[[roles]]
account = "${account}"
name = "${name}"
trust_policy = '''${policy}'''
${more}`;
  return `
[organization]
name = "E2E Corp"
management_account = "${MANAGEMENT}"
[[accounts]]
id = "${MANAGEMENT}"
name = "Management"
[[accounts]]
id = "${WORKLOADS}"
name = "Workloads"

[[identity_sources]]
name = "corp"
type = "saml"
label = "Corp SSO"
domains = ["corp.test"]
metadata_file = "${metadataFile}"
[identity_sources.attributes]
groups = "groups"
email = "mail"
name = "displayName"

[[identity_sources]]
name = "cloud"
type = "oidc"
label = "Cloud login"
issuer = "${issuer}"
client_id = "rp-basic"
client_secret = "${clientSecret}"
audiences = ["rp-public"]
scopes = ["profile", "email", "groups"]

[[identity_sources]]
name = "people"
type = "directory"
label = "Password"

[[groups]]
name = "admins"
[[groups]]
name = "staff"
[[users]]
name = "root@e2e.test"
email = "root@e2e.test"
display_name = "Root Admin"
groups = ["admins", "staff"]
[[users]]
name = "staff@e2e.test"
email = "staff@e2e.test"
display_name = "Stan Staff"
groups = ["staff"]
` + [
    role(MANAGEMENT, 'SamlAdmin', saml(MANAGEMENT, 'aws-admins'), `attached_policies = ${administrator}`),
    role(WORKLOADS, 'SamlDeveloper', saml(WORKLOADS, 'developers'), `[roles.policies]\nchain = '''{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"arn:aws:iam::${WORKLOADS}:role/Chained"}]}'''`),
    role(WORKLOADS, 'SamlReadOnly', saml(WORKLOADS, 'aws-readonly')),
    role(WORKLOADS, 'CloudDeveloper', web(WORKLOADS, 'developers')),
    role(WORKLOADS, 'CloudByMail', trust(WORKLOADS, `oidc-provider/${oidc}`, 'sts:AssumeRoleWithWebIdentity', { StringEquals: { [`${oidc}:email`]: 'alice@corp.test' } })),
    role(WORKLOADS, 'CloudReadOnly', web(WORKLOADS, 'aws-readonly')),
    role(MANAGEMENT, 'DirectoryAdmin', directory(MANAGEMENT, 'admins'), `attached_policies = ${administrator}`),
    role(MANAGEMENT, 'IamOnly', directory(MANAGEMENT, 'admins'), `[roles.policies]\niam = '''{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:*","Resource":"*"}]}'''`),
    role(MANAGEMENT, 'NoIam', directory(MANAGEMENT, 'staff'), `[roles.policies]\ns3 = '''{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}'''`),
    role(WORKLOADS, 'Chained', JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Principal: { AWS: `arn:aws:iam::${WORKLOADS}:role/SamlDeveloper` }, Action: 'sts:AssumeRole' }] })),
  ].join('');
}

// What a SAML identity provider would have the browser post to us, unasked.
export async function samlAssertion(browser, saml, broker, sp = `${broker.url}/saml/metadata`, user = 'alice') {
  const page = await browser.context.newPage();
  const posted = new Promise((resolve) => {
    page.route(`${broker.url}/saml/acs`, async (route) => {
      const response = new URLSearchParams(route.request().postData()).get('SAMLResponse');
      await route.fulfill({ body: 'caught' });
      resolve(response);
    });
  });
  await page.goto(`${saml.info.IDP_SSO_URL}?${new URLSearchParams({ spentityid: sp, RelayState: 'none' })}`);
  const form = page.locator('input[type=password]');
  const arrived = await Promise.race([posted.then(() => 'posted'), form.waitFor().then(() => 'form').catch(() => 'gone')]);
  if (arrived === 'form') await fillLogin(page, user, passwordOf(user));
  return posted;
}

// Signs a directory person in, in a browser page that shows our sign-in page or nothing yet.
// A broker with the demo organization and its new passwords.
export async function demo(change = (document) => document) {
  const broker = new Broker(await freePort());
  const { passwords } = broker.apply(change(fs.readFileSync(path.join(root, 'config/demo.toml'), 'utf8')), '--new-passwords');
  await broker.start();
  return { broker, passwords };
}

// The same, and a browser in which somebody is signed in to it.
export async function demoFor(user, change) {
  const { broker, passwords } = await demo(change);
  const { page, close } = await launch();
  await signInToPortal(page, broker, user, passwords[user]);
  return { broker, passwords, page, stop: async () => { await close(); await broker.kill('SIGTERM'); } };
}

export async function signInToPortal(page, broker, user, password) {
  await signInByPassword(page, broker, user, password);
  await page.getByRole('heading', { name: 'Your roles' }).waitFor();
}

// Where the directory is the only way in, its form is the sign-in page.
export async function signInByPassword(page, broker, user, password) {
  await page.goto(`${broker.url}/sign-in`);
  await page.getByLabel('User name or e-mail').fill(user);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

export async function signInDirectory(page, broker, user, password) {
  await page.goto(`${broker.url}/sign-in`);
  await page.getByRole('link', { name: 'Password' }).click();
  await page.getByLabel('User name or e-mail').fill(user);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Your roles' }).waitFor();
}

// What the portal shows: "account/role", sorted.
export async function offeredRoles(page) {
  return (await page.locator('[data-account]').evaluateAll((cards) => cards.flatMap((card) =>
    [...card.querySelectorAll('[data-role]')].map((role) => `${card.dataset.account.split(' ').pop()}/${role.dataset.role}`)))).sort();
}

// Presses "Credentials" for a role and returns the shell lines.
export async function copyShellLines(page, role, account = '') {
  await page.getByRole('button', { name: new RegExp(`^Copy credentials for ${role} in ${account}`) }).click();
  await page.getByRole('heading', { name: `Credentials for ${role}` }).waitFor();
  return page.locator('#shell').textContent();
}

// RFC 6238, as an authenticator app does it.
export function totp(base32, now = Date.now()) {
  const bits = [...base32].map((letter) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0')).join('');
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(now / 30_000)));
  const mac = crypto.createHmac('sha1', key).update(counter).digest();
  return String((mac.readUInt32BE(mac[19] & 15) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}

// Presses what signs a command line in, and waits until the browser is where that ends: it goes on by itself till then.
export async function approve(page, button = 'Approve') {
  await page.getByRole('button', { name: button }).click();
  await page.waitForURL(/\/device$|\/oauth\/callback\?/, { waitUntil: 'commit' });
}

// `daypass login`, approved in a browser where somebody is signed in.
export async function daypassLogin(page, env, ...words) {
  const login = start(daypass, ['login', '--no-browser', ...words], { env });
  await page.goto(await until('the address', () => /http:\S+\/authorize\S+/.exec(login.output.stderr)?.[0]));
  await approve(page);
  const done = await login.ended;
  assert.equal(done.code, 0, done.stderr);
  return done;
}
