// `daypass` as other programs and shells call it: JSON, browsers, variables; and what it asks the broker.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fs from 'node:fs';
import path from 'node:path';
import * as e2e from './harness.mjs';
import * as aws from './aws_clients.mjs';

let broker, page, stop;

before(async () => { ({ broker, page, stop } = await e2e.demoFor('jane@example.com')); });
after(() => stop?.());

const home = (more) => ({
  ...aws.clean(e2e.folder(), { DAYPASS_URL: broker.url, DISPLAY: undefined, WAYLAND_DISPLAY: undefined, BROWSER: undefined, SSH_CONNECTION: undefined, SSH_TTY: undefined, SSH_CLIENT: undefined, ...more }),
});
const run = (env, words, expect = 0) => e2e.run(e2e.daypass, words, { env, expect });

// A browser that writes down what it is to open.
function recorder() {
  const folder = e2e.folder();
  const opened = path.join(folder, 'opened');
  const program = (name) => {
    fs.writeFileSync(path.join(folder, name), `#!/bin/sh\nprintf '%s\\n' "$*" >> ${opened}\n`, { mode: 0o755 });
    return path.join(folder, name);
  };
  return { folder, program, opened: () => e2e.until('a browser is opened', () => fs.existsSync(opened) && fs.readFileSync(opened, 'utf8').trim()) };
}

test('login opens the browser; over SSH it shows a code by itself', async () => {
  const browsers = recorder();
  const env = home({ BROWSER: browsers.program('browser') });
  const login = e2e.start(e2e.daypass, ['login'], { env });
  await page.goto(await browsers.opened());
  await e2e.approve(page);
  assert.equal((await login.ended).code, 0, login.output.stderr);
  assert.match(login.output.stderr, /Your browser opens/);

  for (const there of [{ SSH_TTY: '/dev/pts/9' }, { SSH_CONNECTION: '192.0.2.1 1 192.0.2.2 22' }, { BROWSER: undefined }]) {
    const far = e2e.start(e2e.daypass, ['login'], { env: { ...env, ...there } });
    const code = await e2e.until('the code', () => /[A-Z]{4}-[A-Z]{4}/.exec(far.output.stderr)?.[0]);
    assert.doesNotMatch(far.output.stderr, /browser opens/);
    await page.goto(`${broker.url}/device?user_code=${code}`);
    await e2e.approve(page);
    assert.equal((await far.ended).code, 0, far.output.stderr);
  }
});

test('console opens the link, at a page, in a browser profile of its own', async () => {
  const browsers = recorder();
  const env = home({ BROWSER: browsers.program('chromium-browser') });
  await e2e.daypassLogin(page, env);
  run(env, ['console', 'administrator', '--service', 'audit']);
  const [link] = (await browsers.opened()).split('\n');
  assert.match(link, /^http:\S+\/federation\?Action=login&/);
  assert.equal(new URL(link).searchParams.get('Destination'), `${broker.url}/admin/audit`);
  run(env, ['console', 'administrator', '--separate']);
  run(env, ['console', 'prod deployer', '--separate']);
  const folders = await e2e.until('both', async () => {
    const lines = (await browsers.opened()).split('\n').slice(1);
    return lines.length === 2 && lines.map((line) => /--user-data-dir=(\S+)/.exec(line)[1]);
  });
  assert.notEqual(folders[0], folders[1]);
  const own = path.join(env.HOME, '.local/state/daypass');
  assert.ok(folders.every((folder) => folder.startsWith(own)));
  assert.equal(fs.statSync(own).mode & 0o077, 0);
});

test('env: lines for a shell, and back', async () => {
  const env = home({ SHELL: '/bin/bash' });
  await e2e.daypassLogin(page, env);
  const inShell = (script, more) => e2e.run('bash', ['-c', `PATH=${path.dirname(e2e.daypass)}:$PATH; ${script}`], { env: { ...env, AWS_REGION: undefined, AWS_DEFAULT_REGION: undefined, ...more } }).stdout;
  const who = `${process.env.E2E_AWS_V1} sts get-caller-identity --output text --query Arn`;
  assert.match(inShell(`eval "$(daypass env Administrator)"; ${who}; eval "$(daypass env --unset)"; env | grep -E '^(AWS_(ACCESS|SECRET|SESSION|CRED|ENDPOINT|REGION|DEFAULT)|DAYPASS_R)' || echo none`),
    /:assumed-role\/Administrator\/jane@example\.com\nnone\n$/);
  // A region of one's own stays, and one that was asked for is kept by what comes after.
  assert.equal(inShell('eval "$(daypass env Administrator)"; eval "$(daypass env --unset)"; echo $AWS_REGION', { AWS_REGION: 'eu-central-1' }), 'eu-central-1\n');
  assert.equal(inShell('eval "$(daypass env Administrator --region eu-west-1)"; daypass exec Administrator -- printenv AWS_REGION'), 'eu-west-1\n');
  const lines = (shell) => run(env, ['env', 'Administrator', '--shell', shell]).stdout;
  assert.match(lines('fish'), /^set -gx AWS_ACCESS_KEY_ID 'ASIA/m);
  assert.match(lines('powershell'), /^\$Env:AWS_ACCESS_KEY_ID = 'ASIA/m);
});

// Commands that answer somebody, with what has to be in their JSON. `agent` and `explain` are asked for theirs elsewhere.
test('--json is understood everywhere', async () => {
  const env = { ...home(), ...broker.env() };
  const login = await e2e.daypassLogin(page, env, '--json');
  assert.deepEqual(Object.keys(JSON.parse(login.stdout)).sort(), ['email', 'expires', 'name', 'url']);
  const inside = (name) => path.join(env.HOME, name);
  fs.writeFileSync(inside('policy.json'), '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}');
  fs.writeFileSync(inside('passphrase'), 'a passphrase of some length\n', { mode: 0o600 });
  const commands = {
    whoami: ['roles'], roles: [0], 'env Administrator': ['AWS_ACCESS_KEY_ID'], 'env --unset': ['unset'], 'console administrator': ['link'],
    'configure --dry-run': ['changed'], doctor: ['findings'], sessions: [], 'keys': ['keys'], 'audit verify': [],
    [`man ${inside('man')}`]: ['folder'], [`apply ${path.join(e2e.root, 'config/demo.toml')} --plan`]: ['changes'],
    'revoke --session 00000000-0000-0000-0000-000000000000': ['Scope'],
    [`policy check ${inside('policy.json')}`]: [],
    [`backup ${inside('backup')} --passphrase-file ${inside('passphrase')}`]: [],
    'root-key 111122223333': [],
    'exec Administrator -- printenv DAYPASS_ROLE': null,
    logout: ['url'],
  };
  for (const [command, keys] of Object.entries(commands)) {
    const done = await e2e.start(e2e.daypass, ['--json', ...command.split(' ')], { env }).ended;
    if (keys === null) {
      assert.equal(done.stdout, '111122223333/Administrator\n', 'the output of a command is its own');
      continue;
    }
    let answer;
    try { answer = JSON.parse(done.stdout); } catch { assert.fail(`${command}: ${done.stdout}${done.stderr}`); }
    for (const key of keys) assert.ok(key in answer, `${command}: ${done.stdout}`);
  }
  const refused = await e2e.start(e2e.daypass, ['--json', 'whoami'], { env }).ended;
  assert.equal(refused.code, 3);
  assert.deepEqual(Object.keys(JSON.parse(refused.stderr)).sort(), ['error', 'exit_code', 'hint']);
});

test('logout ends the session at the broker; the next sign-in is where the last one was, whatever became of the key', async () => {
  const env = home({ DAYPASS_KEYRING: 'off' });
  const folder = path.join(env.HOME, '.local/state/daypass');
  await e2e.daypassLogin(page, env);
  fs.cpSync(folder, path.join(env.HOME, 'copy'), { recursive: true });
  run(env, ['logout']);
  assert.match(run({ ...env, DAYPASS_HOME: path.join(env.HOME, 'copy') }, ['whoami'], 3).stderr, new RegExp(`your session has ended\n {2}run: daypass login ${broker.url}`));

  await e2e.daypassLogin(page, env);
  fs.rmSync(path.join(folder, 'key'));
  const forgetful = { ...env, DAYPASS_URL: undefined };
  assert.match(run(forgetful, ['whoami'], 3).stderr, new RegExp(`not signed in to ${broker.url}`));
  await e2e.daypassLogin(page, forgetful);
  assert.match(run(forgetful, ['whoami']).stdout, /Jane Doe/);
});

test('ten processes whose token has ended: the broker is asked for one', async () => {
  const renewals = async (clock) => {
    const env = { ...home(), ...clock };
    await e2e.daypassLogin(page, env);
    const keys = JSON.parse(run(env, ['env', 'Administrator', '--json']).stdout);
    const { answer } = await e2e.aws('call', {
      url: broker.url, service: 'cloudtrail', operation: 'LookupEvents',
      credentials: { AccessKeyId: keys.AWS_ACCESS_KEY_ID, SecretAccessKey: keys.AWS_SECRET_ACCESS_KEY, SessionToken: keys.AWS_SESSION_TOKEN },
      parameters: { LookupAttributes: [{ AttributeKey: 'EventName', AttributeValue: 'CreateToken' }] },
    }, clock);
    return answer.Events.filter((event) => event.CloudTrailEvent.includes('refresh_token')).length;
  };
  const env = home();
  await e2e.daypassLogin(page, env);
  const before = await renewals({});
  const later = e2e.clockAhead(65 * 60);
  await broker.kill('SIGTERM');
  await broker.start(later);
  try {
    const all = await Promise.all(Array.from({ length: 10 }, () => e2e.start(e2e.daypass, ['--json', 'whoami'], { env: { ...env, ...later } }).ended));
    for (const done of all) assert.equal(done.code, 0, done.stderr);
    assert.equal(await renewals(later), before + 1);
  } finally {
    await broker.kill('SIGTERM');
    await broker.start();
  }
});

test('a broker that hangs: what is left of credentials is given out, to all who ask', async () => {
  const env = home();
  await e2e.daypassLogin(page, env);
  const ask = ['credential-process', '--account', '111122223333', '--role', 'Administrator'];
  const first = JSON.parse(run(env, ask).stdout);
  const nearly = e2e.clockAhead(57 * 60);
  broker.running.child.kill('SIGSTOP');
  try {
    const all = await Promise.all(Array.from({ length: 4 }, () => e2e.start(e2e.daypass, ask, { env: { ...env, ...nearly } }).ended));
    for (const done of all) assert.equal(JSON.parse(done.stdout).AccessKeyId, first.AccessKeyId, done.stderr);
  } finally {
    broker.running.child.kill('SIGCONT');
  }
});

test('configure leaves profiles alone that have keys of their own; --remove takes all away', async () => {
  const env = { ...home(), PATH: `/usr/bin:${process.env.PATH}` };
  await e2e.daypassLogin(page, env);
  const at = (...names) => path.join(env.HOME, '.aws', ...names);
  fs.mkdirSync(at());
  fs.writeFileSync(at('credentials'), '[Sandbox-Developer]\naws_access_key_id = AKIAOWN\naws_secret_access_key = own\n');
  assert.match(run(env, ['configure', '--yes']).stderr, /Left out: there is a profile `Sandbox-Developer` already/);
  const config = fs.readFileSync(at('config'), 'utf8');
  assert.doesNotMatch(config, /\[profile Sandbox-Developer\]/);
  // The CLI of Debian 12 finds the broker by the region of the profile alone.
  assert.match(config, /\[profile Production-Deployer\][^[]*\nregion = daypass-1\n/);
  run(env, ['configure', '--yes', '--region', 'eu-west-1']);
  const { findings } = JSON.parse(run(env, ['doctor', '--json'], 1).stdout);
  assert.match(findings.find((finding) => finding.check === 'AWS CLI').what, /by the region daypass-1 alone/);
  fs.mkdirSync(at('sso/cache'), { recursive: true });
  const token = at('sso/cache', `${e2e.run('sh', ['-c', 'printf daypass | sha1sum']).stdout.slice(0, 40)}.json`);
  fs.writeFileSync(token, '{}');
  // A session that is none of ours keeps its token.
  const own = at('sso/cache', `${e2e.run('sh', ['-c', 'printf mine | sha1sum']).stdout.slice(0, 40)}.json`);
  fs.writeFileSync(own, '{}');
  run(env, ['configure', '--remove', '--yes', '--session', 'mine']);
  assert.ok(fs.existsSync(own));
  // Nor leads another configuration file the same session to another broker.
  fs.writeFileSync(at('other'), '');
  const elsewhere = await e2e.demoFor('sam@example.com');
  try {
    const there = { ...env, DAYPASS_URL: elsewhere.broker.url, AWS_CONFIG_FILE: at('other') };
    await e2e.daypassLogin(elsewhere.page, there);
    assert.match(run(there, ['configure', '--yes'], 1).stderr, new RegExp(`the session .daypass. leads to ${broker.url}`));
  } finally {
    await elsewhere.stop();
  }
  // Without the CLI, too.
  run({ ...env, PATH: '/nowhere' }, ['configure', '--remove', '--yes']);
  assert.ok(!fs.existsSync(token), 'a session of its name would show its token to another broker');
  assert.ok(!/daypass/.test(fs.readFileSync(at('config'), 'utf8')));
  assert.deepEqual(fs.readdirSync(at('models'), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()), []);
});
