// Unmodified AWS clients sign in by `aws sso login` and `aws login`, with the profiles that `daypass configure` writes, and live
// through everything that can happen to a session. Time passes for a client when its cache says that a token ends earlier.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fs from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { launch } from '../testbed/browser/browser.mjs';
import * as e2e from './harness.mjs';
import * as aws from './aws_clients.mjs';

const ACCOUNT = e2e.MANAGEMENT;
const trust = (group) => JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Principal: { Federated: `arn:aws:iam::${ACCOUNT}:oidc-provider/directory` }, Action: 'sts:AssumeRoleWithWebIdentity', Condition: { 'ForAnyValue:StringEquals': { 'directory:groups': group } } }],
});
const organization = (group) => `
[organization]
name = "Clients"
management_account = "${ACCOUNT}"
[[accounts]]
id = "${ACCOUNT}"
name = "Main"
[[identity_sources]]
name = "people"
type = "directory"
label = "Password"
[[groups]]
name = "staff"
[[users]]
name = "jane@e2e.test"
email = "jane@e2e.test"
display_name = "Jane Doe"
groups = ["staff"]
[[roles]]
account = "${ACCOUNT}"
name = "Reader"
trust_policy = '''${trust(group)}'''
[[roles]]
account = "${ACCOUNT}"
name = "Closed"
trust_policy = '''${trust('nobodies')}'''
`;
const ARN = `arn:aws:sts::${ACCOUNT}:assumed-role/Reader/jane@e2e.test`;
const { OLD, OLD_CLI } = aws;

let broker, passwords, browser, page, dataFiles;

// A person's machine: a home folder with the profiles that `daypass configure` writes.
class Home {
  constructor() {
    this.folder = e2e.folder();
    this.env = {
      HOME: this.folder, XDG_STATE_HOME: '', AWS_PAGER: '', AWS_MAX_ATTEMPTS: '1', AWS_EC2_METADATA_DISABLED: 'true', PYTHONUNBUFFERED: '1',
      AWS_REGION: '', AWS_DEFAULT_REGION: '', AWS_PROFILE: '', DAYPASS_URL: broker.url,
    };
    for (const name of ['AWS_REGION', 'AWS_DEFAULT_REGION', 'AWS_PROFILE', 'XDG_STATE_HOME']) delete this.env[name];
  }

  file(...names) { return path.join(this.folder, ...names); }

  // Another one with the same files: both hold the same tokens.
  twin() {
    const twin = new Home();
    fs.cpSync(this.folder, twin.folder, { recursive: true });
    return twin;
  }

  login() { return e2e.daypassLogin(page, this.env); }

  // Roles are known to who is signed in: with a session of its own, as a person would.
  async configure(env = {}) {
    await this.login();
    e2e.run(e2e.daypass, ['configure', '--session', 'corp', '--yes'], { env: { ...this.env, ...env } });
    fs.appendFileSync(this.file('.aws/config'), `\n[profile closed]\nsso_session = corp\nsso_account_id = ${ACCOUNT}\nsso_role_name = Closed\nregion = us-east-1\nservices = corp\n`
      + '\n[profile elsewhere]\nsso_session = corp\nsso_account_id = 999988887777\nsso_role_name = Reader\nregion = us-east-1\nservices = corp\n');
    return this;
  }

  // The token of `aws sso login`, and changes of it.
  token(change) {
    const folder = this.file('.aws/sso/cache');
    const name = fs.readdirSync(folder).find((file) => JSON.parse(fs.readFileSync(path.join(folder, file))).accessToken);
    return rewritten(path.join(folder, name), change);
  }

  // That of `aws login`.
  loginToken(change) {
    const folder = this.file('.aws/login/cache');
    return rewritten(path.join(folder, fs.readdirSync(folder)[0]), change);
  }

  // Its credentials have ended.
  endLogin() { return this.loginToken((token) => ({ accessToken: { ...token.accessToken, ...past() } })); }

  // What CLIs keep of roles: gone when the credentials would have ended.
  forgetCredentials() { fs.rmSync(this.file('.aws/cli/cache'), { recursive: true, force: true }); }
}

function rewritten(file, change) {
  const token = JSON.parse(fs.readFileSync(file));
  if (change) fs.writeFileSync(file, JSON.stringify({ ...token, ...change(token) }));
  return token;
}
const past = () => ({ expiresAt: new Date(Date.now() - 60_000).toISOString().replace(/\.\d+/, '') });

const program = (file, ...words) => (home, profile) => e2e.start(file, words, { env: { ...home.env, AWS_PROFILE: profile } }).ended;
const withEndpoint = (client) => (home, profile) => client({ ...home, env: { ...home.env, AWS_ENDPOINT_URL_SSO_OIDC: broker.url } }, profile);
const clients = Object.fromEntries(Object.entries(aws.clients).map(([name, words]) => [name, program(...words)]));
// It asks the profile where the portal is, and not where tokens are renewed (aws-config 1.13).
clients[aws.RUST] = withEndpoint(clients[aws.RUST]);
// It knows no single sign-on but `aws sso login`; and no endpoints, for which it has data files.
const clientsOfSso = {
  ...clients,
  [OLD_CLI]: (home, profile) => program(OLD, 'sts', 'get-caller-identity', '--region', 'daypass-corp-1', '--output', 'json')({ ...home, env: { ...home.env, AWS_DATA_PATH: dataFiles } }, profile),
};

// Every client, with each sign-in that it knows, when all that they hold has just ended.
async function each(home, check) {
  for (const [name, client] of Object.entries(clientsOfSso)) {
    for (const profile of name in clients ? ['Main-Reader', 'local'] : ['Main-Reader']) {
      home.forgetCredentials();
      home.token(past);
      home.endLogin();
      await check(client, profile, `${name}, ${profile}`);
    }
  }
}

async function identity(client, home, profile = 'Main-Reader') {
  const done = await client(home, profile);
  assert.equal(done.code, 0, `${done.stdout}\n${done.stderr}`);
  return JSON.parse(done.stdout).Arn;
}

async function refusal(client, home, profile = 'Main-Reader', who = '') {
  const done = await client(home, profile);
  assert.notEqual(done.code, 0, `${who}: ${done.stdout}`);
  return `${who}: ${done.stdout}${done.stderr}`;
}

// Opens the address that a program shows, and approves.
async function approve(running, stream = 'stdout', press = e2e.approve) {
  const address = await e2e.until('the address', () => {
    if (running.child.exitCode !== null) throw new Error(running.output.stdout + running.output.stderr);
    return /http:\S+[?]\S+(?=\s)/.exec(running.output[stream])?.[0];
  });
  await page.goto(address);
  await press(page);
}

async function ssoLogin(home, program = process.env.E2E_AWS_CURRENT, ...words) {
  const login = e2e.start(program, ['sso', 'login', '--profile', 'Main-Reader', '--no-browser', ...words], { env: home.env });
  await approve(login);
  const done = await login.ended;
  assert.equal(done.code, 0, done.stdout + done.stderr);
}

// The other sign-in: one role, chosen in the browser, and a code to paste.
async function awsLogin(home, meanwhile = () => {}) {
  if (!fs.readFileSync(home.file('.aws/config'), 'utf8').includes('[profile local]')) {
    fs.appendFileSync(home.file('.aws/config'), '\n[profile local]\nregion = us-east-1\nservices = corp\n');
  }
  const login = e2e.start(process.env.E2E_AWS_CURRENT, ['login', '--profile', 'local', '--remote'], { env: home.env, stdio: ['pipe', 'pipe', 'pipe'] });
  await approve(login, 'stdout', (page) => page.getByRole('button', { name: 'Use this role: Reader in Main' }).click());
  const code = await page.locator('#code').innerText();
  await meanwhile();
  login.child.stdin.write(`${code}\n`);
  const done = await login.ended;
  assert.equal(done.code, 0, done.stdout + done.stderr);
  assert.match(fs.readFileSync(home.file('.aws/config'), 'utf8'), new RegExp(`login_session = ${ARN}`));
}

async function signIn() {
  await e2e.signInToPortal(page, broker, 'jane@e2e.test', passwords['jane@e2e.test']);
}

before(async () => {
  broker = new e2e.Broker(await e2e.freePort());
  ({ passwords } = broker.apply(organization('staff'), '--new-passwords'));
  await broker.start();
  browser = await launch();
  page = browser.page;
  await signIn();
  const old = await new Home().configure({ PATH: `/usr/bin:${process.env.PATH}` });
  dataFiles = old.file('.aws/models');
});

after(async () => {
  await browser?.close();
  await broker?.kill('SIGTERM');
});

for (const [name, client] of Object.entries(clientsOfSso)) {
  test(`aws sso login, then ${name}: used, renewed, refused, renewed by two at once`, async () => {
    const home = await new Home().configure();
    await ssoLogin(home);
    assert.equal(await identity(client, home), ARN);
    assert.match(await refusal(client, home, 'closed'), /No access|Forbidden/i);
    assert.match(await refusal(client, home, 'elsewhere'), /No access|Forbidden/i);

    // The token ends: it is renewed without a word.
    const before = home.token(past);
    home.forgetCredentials();
    assert.equal(await identity(client, home), ARN);
    const after = home.token(past);
    assert.notEqual(after.accessToken, before.accessToken);
    assert.notEqual(after.refreshToken, before.refreshToken);

    // Two processes renew the same token at once: whichever writes last, the next one goes on from there.
    const twins = [home, home.twin()];
    for (let round = 0; round < 2; round += 1) {
      for (const twin of twins) {
        twin.token(past);
        twin.forgetCredentials();
      }
      assert.deepEqual(await Promise.all(twins.map((twin) => identity(client, twin))), [ARN, ARN]);
    }

    // And with one file between them. Clients write it in place, and the other process may read half of it: it is asked once more.
    // That hides no end of the session by the broker, which would last.
    home.token(past);
    home.forgetCredentials();
    const renewing = () => identity(client, home).catch(() => identity(client, home));
    assert.deepEqual(await Promise.all([renewing(), renewing()]), [ARN, ARN]);
  });
}

for (const [name, client] of Object.entries(clients)) {
  test(`aws login, then ${name}: used, renewed, renewed by two at once, bound to its key`, async () => {
    const home = await new Home().configure();
    await awsLogin(home);
    assert.equal(await identity(client, home, 'local'), ARN);
    const before = home.endLogin();
    assert.equal(await identity(client, home, 'local'), ARN);
    const after = home.endLogin();
    assert.notEqual(after.refreshToken, before.refreshToken);
    assert.notEqual(after.accessToken.sessionToken, before.accessToken.sessionToken);
    // Two processes renew at once, and go on.
    const twins = [home, home.twin()];
    for (let round = 0; round < 2; round += 1) {
      for (const twin of twins) twin.endLogin();
      assert.deepEqual(await Promise.all(twins.map((twin) => identity(client, twin, 'local'))), [ARN, ARN]);
    }
    // Whoever takes the refresh token has not the key.
    const other = await new Home().configure();
    const { dpopKey } = await otherLogin(other);
    home.endLogin();
    home.loginToken(() => ({ dpopKey }));
    await refusal(client, home, 'local');
  });
}

// A login of its own, for its key. Through the browser of the same machine, this time.
let elsewhere;
async function otherLogin(home) {
  elsewhere ??= (async () => {
    const login = e2e.start(process.env.E2E_AWS_CURRENT, ['login', '--profile', 'other', '--region', 'us-east-1', '--endpoint-url', broker.url], { env: { ...home.env, BROWSER: 'true' } });
    await approve(login, 'stdout', (page) => e2e.approve(page, 'Use this role: Reader in Main'));
    const done = await login.ended;
    assert.equal(done.code, 0, done.stdout + done.stderr);
    fs.appendFileSync(home.file('.aws/config'), 'region = us-east-1\nservices = corp\n');
    const current = clients['the current AWS CLI v2'];
    assert.equal(await identity(current, home, 'other'), ARN);
    home.endLogin();
    assert.equal(await identity(current, home, 'other'), ARN);
    return home.loginToken();
  })();
  return elsewhere;
}

test('the AWS CLI 2.9.19 of Debian 12 signs in by device code, led by data files', async () => {
  const home = await new Home().configure({ PATH: `/usr/bin:${process.env.PATH}` });
  assert.ok(fs.existsSync(home.file('.aws/models/sso-oidc/2019-06-10/endpoint-rule-set-1.json')));
  await ssoLogin(home, OLD);
  const old = program(OLD, 'sts', 'get-caller-identity', '--region', 'daypass-corp-1', '--output', 'json');
  assert.equal(await identity(old, home), ARN);
  assert.match(await refusal(old, home, 'closed'), /No access/);
  const before = home.token(past);
  home.forgetCredentials();
  assert.equal(await identity(old, home), ARN);
  assert.notEqual(home.token().refreshToken, before.refreshToken);
  const done = await e2e.start(OLD, ['sso', 'logout', '--profile', 'Main-Reader'], { env: home.env }).ended;
  assert.equal(done.code, 0, done.stderr);
  assert.match(await refusal(old, home), /Token for corp does not exist/);
});

test('by device code, and logout: the token is dead at the broker, too', async () => {
  const home = await new Home().configure();
  await ssoLogin(home, process.env.E2E_AWS_CURRENT, '--use-device-code');
  const { accessToken, refreshToken, clientId, clientSecret } = home.token();
  const kept = home.file('kept');
  fs.cpSync(home.file('.aws/sso/cache'), kept, { recursive: true });
  const portal = () => fetch(`${broker.url}/assignment/accounts`, { headers: { 'x-amz-sso_bearer_token': accessToken } });
  assert.equal((await portal()).status, 200);
  const out = await e2e.start(process.env.E2E_AWS_CURRENT, ['sso', 'logout', '--profile', 'Main-Reader'], { env: home.env }).ended;
  assert.equal(out.code, 0, out.stderr);
  const refused = await portal();
  assert.equal(refused.status, 401);
  assert.equal(refused.headers.get('x-amzn-errortype'), 'UnauthorizedException');
  const renewed = await fetch(`${broker.url}/token`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ clientId, clientSecret, grantType: 'refresh_token', refreshToken }) });
  assert.equal(renewed.status, 400);
  assert.equal((await renewed.json()).error, 'invalid_grant');
  for (const [who, client] of Object.entries(clientsOfSso)) {
    assert.match(await refusal(client, home, 'Main-Reader', who), /login|not found|does not exist|No such file|expired/i);
    // The command line has forgotten it; somebody who copied its files is told by the broker, with the token as with the refresh token.
    for (const change of [undefined, past]) {
      fs.cpSync(kept, home.file('.aws/sso/cache'), { recursive: true });
      home.token(change);
      assert.match(await refusal(client, home, 'Main-Reader', who), /login|Unauthorized|expired|invalid/i);
    }
    fs.rmSync(home.file('.aws/sso/cache'), { recursive: true });
  }
});

test('the start URL answers as the AWS CLI asks', async () => {
  const head = await fetch(`${broker.url}/start`, { method: 'HEAD', redirect: 'manual' });
  assert.match(head.headers.get('location'), /^https:\/\/[a-z0-9-]+\.awsapps\.com\/start$/);
  const person = await fetch(`${broker.url}/start`, { redirect: 'manual' });
  assert.equal(person.headers.get('location'), '/portal');
});

test('the broker is killed between login and approval, and while a session lives', async () => {
  const home = await new Home().configure();
  const login = e2e.start(process.env.E2E_AWS_CURRENT, ['sso', 'login', '--profile', 'Main-Reader', '--no-browser', '--use-device-code'], { env: { ...home.env, AWS_MAX_ATTEMPTS: '20' } });
  await approve(login, 'stdout', async (page) => {
    await broker.kill();
    await broker.start();
    await e2e.approve(page);
  });
  const done = await login.ended;
  assert.equal(done.code, 0, done.stdout + done.stderr);
  await awsLogin(home, async () => {
    await broker.kill();
    await broker.start();
  });
  await broker.kill();
  await broker.start();
  await each(home, async (client, profile) => assert.equal(await identity(client, home, profile), ARN));
});

test('a role is taken away from somebody who is signed in, and comes back', async () => {
  const home = await new Home().configure();
  await ssoLogin(home);
  await awsLogin(home);
  broker.apply(organization('others'));
  await e2e.until('the role is gone', async () => {
    home.forgetCredentials();
    return /No access/.test((await clients['the current AWS CLI v2'](home, 'Main-Reader')).stderr);
  });
  await each(home, async (client, profile, who) => assert.match(await refusal(client, home, profile, who), /No access|Forbidden|denied|insufficient permissions/i));
  // The profile goes with it; people's own stay.
  e2e.run(e2e.daypass, ['configure', '--session', 'corp', '--yes'], { env: home.env });
  const config = fs.readFileSync(home.file('.aws/config'), 'utf8');
  assert.ok(!config.includes('[profile Main-Reader]') && config.includes('[profile closed]'), config);
  broker.apply(organization('staff'));
  await e2e.until('the role is back', async () => {
    e2e.run(e2e.daypass, ['configure', '--session', 'corp', '--yes'], { env: home.env });
    return fs.readFileSync(home.file('.aws/config'), 'utf8').includes('[profile Main-Reader]');
  });
  // Nothing was used up by what was refused meanwhile.
  await each(home, async (client, profile) => assert.equal(await identity(client, home, profile), ARN));
});

test('the AWS CLI signs in and out by the name of the session, too: data files lead it', async () => {
  const home = await new Home().configure({ PATH: `${path.dirname(process.env.E2E_AWS_CURRENT)}:${process.env.PATH}` });
  assert.ok(!fs.existsSync(home.file('.aws/models/sts')), 'no more than it needs');
  const login = e2e.start(process.env.E2E_AWS_CURRENT, ['sso', 'login', '--sso-session', 'corp', '--no-browser'], { env: home.env });
  await approve(login);
  assert.equal((await login.ended).code, 0, login.output.stderr);
  assert.equal(await identity(clients['the current AWS CLI v2'], home), ARN);
  const { accessToken } = home.token();
  const out = await e2e.start(process.env.E2E_AWS_CURRENT, ['sso', 'logout'], { env: home.env }).ended;
  assert.equal(out.code, 0, out.stderr);
  assert.equal((await fetch(`${broker.url}/assignment/accounts`, { headers: { 'x-amz-sso_bearer_token': accessToken } })).status, 401);
});

test('aws logout forgets the role here; the portal ends it everywhere', async () => {
  const home = await new Home().configure();
  await awsLogin(home);
  const kept = home.file('kept');
  fs.cpSync(home.file('.aws/login/cache'), kept, { recursive: true });
  const out = await e2e.start(process.env.E2E_AWS_CURRENT, ['logout', '--profile', 'local'], { env: home.env }).ended;
  assert.equal(out.code, 0, out.stdout + out.stderr);
  const current = clients['the current AWS CLI v2'];
  await refusal(current, home, 'local');
  // The AWS CLI tells nobody. Somebody who copied its files goes on, until the person ends that session.
  fs.cpSync(kept, home.file('.aws/login/cache'), { recursive: true });
  home.endLogin();
  assert.equal(await identity(current, home, 'local'), ARN);
  await page.goto(`${broker.url}/security`);
  const sessions = page.getByRole('listitem').filter({ hasText: `aws login as Reader in ${ACCOUNT}` });
  const before = await sessions.count();
  // The latest stands first.
  await sessions.first().getByRole('button', { name: 'Sign out' }).click();
  await e2e.until('one less', async () => (await sessions.count()) === before - 1);
  home.endLogin();
  assert.match(await refusal(current, home, 'local'), /login|expired/i);
});

test('daypass itself: wrong roles, a broker that is away, a role that goes, a revocation, the end', async () => {
  const home = await new Home().configure();
  const daypass = (words, expect = 0, env = {}) => e2e.run(e2e.daypass, words, { env: { ...home.env, ...env }, expect });
  const who = (words, env) => JSON.parse(daypass(words, 0, env).stdout);
  const reader = ['credential-process', '--account', ACCOUNT, '--role', 'Reader'];
  assert.match(daypass(['whoami']).stdout, /^Jane Doe \(jane@e2e\.test\), of people\nSigned in to http:\S+ until 20\S+Z\n/);
  assert.equal(JSON.parse(daypass(['exec', 'reader', '--', process.env.E2E_AWS_V1, 'sts', 'get-caller-identity', '--output', 'json']).stdout).Arn, ARN);
  assert.match(daypass(['exec', `${ACCOUNT}/Closed`, '--', 'true'], 4).stderr, /you may not take this role, or there is no such role\n {2}run: daypass roles/);
  assert.match(daypass(['exec', '999988887777/Reader', '--', 'true'], 4).stderr, /you may not take this role/);
  const first = who(reader);

  // Away: what is there is given out, what is not is not.
  await broker.kill();
  let asked = 0;
  const listener = createServer(() => { asked += 1; }).listen(broker.port, '127.0.0.1');
  const done = await e2e.start(e2e.daypass, reader, { env: home.env }).ended;
  assert.deepEqual(JSON.parse(done.stdout), first);
  assert.equal(asked, 0, 'nobody is asked for what is there');
  await new Promise((closed) => listener.close(closed));
  assert.match(daypass(['roles'], 1).stderr, /can't be reached/);
  await broker.start();

  broker.apply(organization('others'));
  await e2e.until('the role is gone', async () => who(['roles', '--json']).length === 0);
  assert.match(daypass(['console', `${ACCOUNT}/Reader`, '--print'], 4).stderr, /you may not take this role/);
  assert.match(daypass(['roles']).stdout, /No role lets you in/);
  broker.apply(organization('staff'));
  await e2e.until('the role is back', async () => who(['roles', '--json']).length === 1);

  // Half an hour on, a broker that was started again renews the session; nine hours on, it is over.
  const later = e2e.clockAhead(65 * 60);
  await broker.kill('SIGTERM');
  await broker.start(later);
  assert.notEqual(who(reader, later).AccessKeyId, first.AccessKeyId);
  const over = e2e.clockAhead(9 * 3600);
  await broker.kill('SIGTERM');
  await broker.start(over);
  for (const words of [reader, ['roles'], ['whoami'], ['exec', 'reader', '--', 'true'], ['console', 'reader', '--print']]) {
    assert.match(daypass(words, 3, over).stderr, /your session has ended\n {2}run: daypass login/, words.join(' '));
  }
  await broker.kill('SIGTERM');
  await broker.start();

  // Signed in anew, and revoked.
  await home.login();
  who(reader);
  broker.command('revoke', '--everything');
  await e2e.until('the revocation is known', async () => (await e2e.start(e2e.daypass, ['roles'], { env: home.env }).ended).code === 3);
  daypass(['console', 'reader', '--print'], 3);
  await signIn();
});

test('a person is revoked, and the session ends by itself: clients say to sign in again, and then it works', async () => {
  const home = await new Home().configure();
  await ssoLogin(home);
  await awsLogin(home);
  broker.command('revoke', '--everything');
  const portal = () => fetch(`${broker.url}/assignment/accounts`, { headers: { 'x-amz-sso_bearer_token': home.token().accessToken } });
  await e2e.until('the revocation is known', async () => (await portal()).status === 401);
  await each(home, async (client, profile, who) => assert.match(await refusal(client, home, profile, who), /login|Unauthorized|expired|invalid/i));
  await signIn();
  await ssoLogin(home);
  await awsLogin(home);
  assert.equal(await identity(clients['the current AWS CLI v2'], home), ARN);

  // Nine hours later.
  const later = e2e.clockAhead(9 * 3600);
  await broker.kill('SIGTERM');
  await broker.start(later);
  Object.assign(home.env, later);
  await each(home, async (client, profile, who) => assert.match(await refusal(client, home, profile, who), /login|expired|InvalidGrant|refresh|Unauthorized/i));
});
