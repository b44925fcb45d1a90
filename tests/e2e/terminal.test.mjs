// The command line as people see it, in a real terminal (tmux): wide with colours, and in 60 columns without. What was seen is
// kept in target/terminal.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createServer } from 'node:http';
import path from 'node:path';
import * as e2e from './harness.mjs';

const out = path.join(e2e.root, 'target/terminal');
let broker, page, stop;
const terminals = [];

class Terminal {
  constructor(name, columns, env, ...program) {
    Object.assign(this, { name, columns, socket: `daypass-${process.pid}-${name}`, home: e2e.folder() });
    const clean = { HOME: this.home, PATH: `${path.dirname(e2e.daypass)}:${process.env.PATH}`, TERM: 'xterm-256color', LANG: 'C.UTF-8', ...env };
    // Nothing of this process is left in it: a person's shell.
    if (program.length === 0) program = ['bash', '--norc', '--noprofile'];
    const shell = ['env', '-i', ...Object.entries(clean).map(([key, value]) => `${key}=${value}`), 'PS1=$ ', ...program];
    this.tmux('new-session', '-d', '-x', columns, '-y', 50, ...shell);
    terminals.push(this);
  }

  tmux(...words) {
    const done = spawnSync('tmux', ['-L', this.socket, '-f', '/dev/null', ...words.map(String)], { encoding: 'utf8' });
    assert.equal(done.status, 0, done.stderr);
    return done.stdout;
  }

  // What stands there; long lines are one.
  text() { return this.tmux('capture-pane', '-p', '-J', '-S', '-200').trimEnd(); }
  coloured() { return this.tmux('capture-pane', '-p', '-e', '-S', '-200'); }
  keys(...keys) { this.tmux('send-keys', ...keys); }

  // Types a command on a clean screen.
  async type(command) {
    this.tmux('send-keys', '-R', 'C-l');
    this.tmux('clear-history');
    await this.see(/^\$ ?$/m);
    this.keys('-l', command);
    this.keys('Enter');
  }

  async see(pattern) {
    return e2e.until(`${this.name}: ${pattern}\n`, () => pattern.exec(this.text()), 30_000).catch((error) => { throw new Error(`${error.message}\n${this.text()}`); });
  }

  // The command ended: the prompt is back below what it printed.
  async done() { await this.see(/\n\$ ?$/); return this.text(); }

  keep(what) {
    fs.mkdirSync(out, { recursive: true });
    fs.writeFileSync(path.join(out, `${what}-${this.name}.txt`), `${this.tmux('capture-pane', '-p', '-S', '-200').trimEnd()}\n`);
  }
}

before(async () => {
  ({ broker, page, stop } = await e2e.demoFor('jane@example.com'));
});

after(async () => {
  for (const terminal of terminals) spawnSync('tmux', ['-L', terminal.socket, 'kill-server']);
  await stop?.();
});

// Sentences in one line, however wide the terminal is.
const flat = (text) => text.replace(/\n {2,}/g, ' ');

const looks = {
  wide: [100, {}],
  'narrow-plain': [60, { NO_COLOR: '1' }],
};

for (const [name, [columns, env]] of Object.entries(looks)) {
  test(`login, roles, exec, configure, doctor, logout: ${name}`, async () => {
    const terminal = new Terminal(name, columns, env);
    const escape = /\x1b\[[0-9;]*m/;
    const colours = () => assert.equal(escape.test(terminal.coloured().replaceAll('\x1b[0m', '')), name === 'wide', terminal.coloured());

    await terminal.type('daypass whoami; echo "code $?"');
    assert.match(await terminal.done(), /daypass: you are not signed in\n {2}run: daypass login\ncode 3/);

    // Without a screen there is no browser: a code is shown, and where to type it.
    await terminal.type(`daypass login --url ${broker.url}`);
    const [code] = await terminal.see(/[A-Z]{4}-[A-Z]{4}/);
    await terminal.see(/Waiting for you to approve \([1-9]s\)/);
    terminal.keep('login');
    await page.goto(`${broker.url}/device?user_code=${code}`);
    await e2e.approve(page);
    assert.match(flat(await terminal.done()), /Signed in to http:\S+ as Jane Doe \(jane@example\.com\) until 20\S+Z\./);
    assert.doesNotMatch(terminal.text(), /Waiting for you/, 'the spinner is gone');
    colours();

    await terminal.type('daypass roles');
    assert.match(await terminal.done(), /111122223333 {2}Administrator {2}Example Corp\n.*222233334444 {2}Deployer/);
    colours();
    terminal.keep('roles');

    // Choosing: typing narrows the list, Enter takes what is left. It is first the next time.
    await terminal.type('daypass exec -- sh -c \'echo "as $DAYPASS_ROLE until $AWS_CREDENTIAL_EXPIRATION"; exit 7\'; echo "code $?"');
    await terminal.see(/Role/);
    terminal.keys('-l', 'prod only');
    await terminal.see(/ReadOnly/);
    terminal.keep('exec-choosing');
    terminal.keys('Enter');
    assert.match(await terminal.done(), /as 222233334444\/ReadOnly until \d{4}-\S+Z\ncode 7/);
    terminal.keep('exec');
    await terminal.type('daypass roles | head -1');
    assert.match(await terminal.done(), /222233334444 {2}ReadOnly/);
    await terminal.type('daypass roles --pick');
    await terminal.see(/Role/);
    terminal.keys('Escape');
    assert.match(await terminal.done(), /no role was chosen/);

    await terminal.type('daypass exec nobody -- true; echo "code $?"');
    assert.match(await terminal.done(), /none of your roles is `nobody`\n {2}run: daypass roles\ncode 4/);
    await terminal.type('daypass exec Deploier -- true');
    assert.match(flat(await terminal.done()), /none of your roles is `Deploier` did you mean 222233334444\/Deployer \(Deployer in Production\)\?/);
    await terminal.type('daypass exec Administrator ls; echo "code $?"');
    assert.match(flat(await terminal.done()), /unexpected argument 'ls'[^]*comes after two dashes[^]*code 2/);
    await terminal.type('daypass exec Administrator -- no-such-command; echo "code $?"');
    assert.match(await terminal.done(), /no-such-command: No such file[^]*code 127/);
    // Without a command, a shell.
    await terminal.type('daypass exec Administrator');
    await terminal.see(/A shell as 111122223333\/Administrator/);
    terminal.keys('-l', 'echo "as $DAYPASS_ROLE"; exit');
    terminal.keys('Enter');
    await terminal.see(/^as 111122223333\/Administrator/m);
    // Ctrl-C reaches the command of an agent by the terminal: once.
    await terminal.type('daypass agent Administrator -- sh -c \'n=0; trap "n=\\$((n+1)); echo stopped" INT; echo ready; until read line; do :; done; echo "times: $n"\'; echo "code $?"');
    await terminal.see(/^ready/m);
    terminal.keys('C-c');
    await terminal.see(/^(\^C)?stopped/m);
    terminal.keys('Enter');
    assert.match(await terminal.done(), /times: 1\ncode 0/);
    await terminal.type('daypass roles prod | cat; echo a < /dev/null | daypass exec; echo "code $?"');
    assert.match(await terminal.done(), /ReadOnly[^]*Deployer[^]*say which command to run[^]*code 2/);

    await terminal.type('daypass configure; ls ~/.aws');
    await terminal.see(/^\+ \[profile Example-Corp-Administrator\]$[^]*Write this\? \[y\/N\]/m);
    terminal.keys('n', 'Enter');
    assert.match(await terminal.done(), /nothing was changed[^]*No such file/);
    await terminal.type('daypass configure');
    await terminal.see(/Write this\? \[y\/N\]/);
    colours();
    terminal.keep('configure');
    terminal.keys('y', 'Enter');
    assert.match(flat(await terminal.done()), /Written\. (Next|The AWS CLI has a sign-in of its own\. Next: aws sso login --profile Example-Corp-Administrator|Your AWS CLI is version 1)/);
    assert.match(fs.readFileSync(path.join(terminal.home, '.aws/config'), 'utf8'), /\[profile Example-Corp-Administrator\]/);

    await terminal.type('export AWS_ACCESS_KEY_ID=AKIAOLD AWS_CREDENTIAL_EXPIRATION=2020-01-01T00:00:00Z; daypass doctor; echo "code $?"');
    const seen = flat(await terminal.done());
    assert.match(seen, /ok +address: http:\S+ answers/);
    assert.match(seen, /problem +variables: expired credentials in AWS_ACCESS_KEY_ID come before/);
    assert.match(seen, /code 1/);
    colours();
    terminal.keep('doctor');

    await terminal.type('daypass logout; daypass whoami; echo "code $?"');
    assert.match(flat(await terminal.done()), /Signed out of http[^]*not signed in[^]*code 3/);
  });
}

test('names that are longer than the terminal is wide are not broken in two', async () => {
  const wide = await e2e.demoFor('jane@example.com', (document) => document.replaceAll('name = "Production"', 'name = "Acme Corporation Production Workloads EU"'));
  const terminal = new Terminal('long-names', 60, {});
  try {
    await e2e.daypassLogin(wide.page, { HOME: terminal.home, XDG_STATE_HOME: '', DAYPASS_HOME: '', PATH: process.env.PATH }, wide.broker.url);
    // Lines that the terminal broke are joined in the one, and not in the other.
    const unbroken = () => {
      const [shown, joined] = [['-p'], ['-p', '-J']].map((words) => terminal.tmux('capture-pane', ...words).split('\n').map((line) => line.trimEnd()).join('\n'));
      assert.equal(shown, joined);
    };
    await terminal.type('daypass roles');
    assert.match(await terminal.done(), /Deployer\n +Acme Corporation Production Workloads EU\n/);
    unbroken();
    await terminal.type('daypass exec -- true; echo "code $?"');
    await terminal.see(/Acme Corpor\S* .*…  Deployer  222233334444/);
    unbroken();
    terminal.keep('exec-long-names');
    terminal.keys('-l', 'deploy');
    await e2e.until('the list is short', () => !/ReadOnly/.test(terminal.text()));
    terminal.keys('Enter');
    const left = await terminal.done();
    assert.match(left, /code 0/);
    assert.doesNotMatch(left, /Administrator|ReadOnly/, 'nothing of the list stays');
  } finally {
    await wide.stop();
  }
});

test('a broker that takes its time: after a second it is said, and then it is gone', async () => {
  const terminal = new Terminal('slow', 80, {});
  const slow = createServer((_, response) => setTimeout(() => response.end('{}'), 2500)).listen(0, '127.0.0.1');
  try {
    await new Promise((listening) => slow.on('listening', listening));
    await terminal.type(`daypass login http://127.0.0.1:${slow.address().port}`);
    await terminal.see(/Asking the broker \([1-9]s\)/);
    assert.match(await terminal.done(), /does not answer like a Daypass broker/);
    assert.doesNotMatch(terminal.text(), /Asking the broker/);
  } finally {
    slow.close();
  }
});

// What `daypass doctor` says of the trouble that people have.
test('doctor finds the usual problems, and says what to do', async () => {
  const home = e2e.folder();
  const base = { HOME: home, XDG_STATE_HOME: path.join(home, 'state'), PATH: process.env.PATH };
  await e2e.daypassLogin(page, base, '--url', broker.url);

  const look = async (env = {}, ...words) => {
    const done = await e2e.start(e2e.daypass, ['doctor', '--json', ...words], { env: { ...base, ...env } }).ended;
    const { findings } = JSON.parse(done.stdout);
    assert.equal(done.code, findings.some((finding) => finding.state === 'problem') ? 1 : 0);
    for (const finding of findings) assert.equal(finding.state === 'ok', finding.fix === undefined, JSON.stringify(finding));
    return Object.fromEntries(findings.map((finding) => [finding.check, finding]));
  };
  const sees = async (check, state, pattern, env, ...words) => {
    const finding = (await look(env, ...words))[check];
    assert.equal(finding?.state, state, `${check}: ${JSON.stringify(finding)}`);
    assert.match(`${finding.what} ${finding.fix}`, pattern);
  };
  await sees('profiles', 'warning', /daypass configure/);
  e2e.run(e2e.daypass, ['configure', '--yes'], { env: { ...base, PATH: `/usr/bin:${base.PATH}` } });
  assert.equal((await look({ PATH: `${path.dirname(process.env.E2E_AWS_CURRENT)}:${base.PATH}` }))['AWS CLI'].state, 'ok');
  await sees('profiles', 'ok', /take a session/);
  await sees('session', 'ok', /signed in/);
  await sees('address', 'problem', /can't be reached[^]*VPN/, {}, '--url', 'http://127.0.0.1:9');
  const port = await e2e.freePort();
  const other = createServer((_, response) => response.end('hello')).listen(port, '127.0.0.1');
  await sees('address', 'problem', /not like a Daypass broker/, {}, '--url', `http://127.0.0.1:${port}`);
  other.close();
  await sees('clock', 'problem', /\d+ seconds ahead/, e2e.clockAhead(1800));
  await sees('proxy', 'ok', /none is used/, { http_proxy: 'http://127.0.0.1:1' });
  const https = ['--url', 'https://broker.corp.test'];
  await sees('proxy', 'warning', /NO_PROXY=broker\.corp\.test/, { https_proxy: 'http://me:secret@127.0.0.1:1' }, ...https);
  assert.doesNotMatch(JSON.stringify(await look({ https_proxy: 'http://me:secret@127.0.0.1:1' }, ...https)), /secret/);
  await sees('proxy', 'ok', /excepts/, { https_proxy: 'http://127.0.0.1:1', no_proxy: 'corp.test' }, ...https);
  await sees('variables', 'warning', /come before every profile/, { AWS_ACCESS_KEY_ID: 'x' });
  await sees('endpoints', 'problem', /leads elsewhere/, { AWS_ENDPOINT_URL_STS: 'https://elsewhere.example' });
  await sees('endpoints', 'problem', /IGNORE/, { AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: 'true' });
  await sees('AWS CLI', 'warning', /none on the path/, { PATH: '/nowhere' });
  await sees('AWS CLI', 'warning', /can't sign in by itself/, { PATH: path.dirname(process.env.E2E_AWS_V1) });
  fs.rmSync(path.join(home, '.aws/models'), { recursive: true });
  await sees('AWS CLI', 'problem', /2\.9\.19[^]*daypass configure/, { PATH: '/usr/bin' });
  const config = path.join(home, '.aws/config');
  const good = fs.readFileSync(config, 'utf8');
  fs.writeFileSync(config, good.replaceAll(broker.url, 'https://old.example'));
  await sees('profiles', 'problem', /leads to https:\/\/old\.example/);
  fs.writeFileSync(config, `${good}\n[profile lost]\nsso_session = daypass\nsso_account_id = 1\n`);
  await sees('profiles', 'problem', /no `services`/);
  fs.writeFileSync(config, `${good}\n[profile a]\n[profile a]\n`);
  await sees('profiles', 'problem', /stands there twice/);
  fs.writeFileSync(config, good);
  const cache = path.join(home, '.aws/sso/cache');
  fs.mkdirSync(cache, { recursive: true });
  fs.writeFileSync(path.join(cache, 'a.json'), JSON.stringify({ startUrl: 'https://daypass.awsapps.com/start', accessToken: 'x', expiresAt: '2020-01-01T00:00:00Z' }));
  await sees('caches', 'warning', /aws sso login/);
  fs.chmodSync(path.join(home, 'state/daypass'), 0o755);
  await sees('files', 'problem', /chmod 700/);
  fs.chmodSync(path.join(home, 'state/daypass'), 0o700);
  e2e.run(e2e.daypass, ['logout'], { env: base });
  await sees('session', 'problem', /daypass login/, {}, '--url', broker.url);
});

test('sessions are sealed, renewed silently by one process at a time, and gone after logout', async () => {
  const home = e2e.folder();
  const env = { HOME: home, XDG_STATE_HOME: '', DAYPASS_HOME: path.join(home, 'dp'), DAYPASS_KEYRING: 'off', DAYPASS_URL: broker.url };
  await e2e.daypassLogin(page, env);
  const ask = ['credential-process', '--account', '111122223333', '--role', 'Administrator'];
  const first = JSON.parse(e2e.run(e2e.daypass, ask, { env }).stdout);
  const files = fs.readdirSync(env.DAYPASS_HOME, { recursive: true, withFileTypes: true });
  for (const file of files) {
    const place = path.join(file.parentPath, file.name);
    assert.equal(fs.statSync(place).mode & 0o077, 0, place);
    if (file.isFile()) assert.ok(!fs.readFileSync(place, 'utf8').includes(first.SecretAccessKey), place);
  }
  // Half an hour before the token ends, and ten processes that want one role at once: one of them asks.
  const processes = Array.from({ length: 10 }, () => e2e.start(e2e.daypass, ['credential-process', '--account', '222233334444', '--role', 'Deployer'], { env }).ended);
  const keys = (await Promise.all(processes)).map((done) => { assert.equal(done.code, 0, done.stderr); return JSON.parse(done.stdout).AccessKeyId; });
  assert.equal(new Set(keys).size, 1, 'one set of credentials');
  // Later, both clocks, the access token has ended: it is renewed, ten times at once.
  await broker.kill('SIGTERM');
  const later = e2e.clockAhead(65 * 60);
  await broker.start(later);
  const renewed = await Promise.all(Array.from({ length: 10 }, () => e2e.start(e2e.daypass, ['--json', 'whoami'], { env: { ...env, ...later } }).ended));
  for (const done of renewed) assert.equal(done.code, 0, done.stderr);
  await broker.kill('SIGTERM');
  await broker.start();
  // Nobody else's key opens it.
  const copy = path.join(home, 'copy');
  fs.cpSync(env.DAYPASS_HOME, copy, { recursive: true });
  fs.rmSync(path.join(copy, 'key'));
  assert.match(e2e.run(e2e.daypass, ['whoami'], { env: { ...env, DAYPASS_HOME: copy }, expect: 3 }).stderr, /not signed in/);
  e2e.run(e2e.daypass, ['logout'], { env });
  assert.deepEqual(fs.readdirSync(path.join(env.DAYPASS_HOME, 'sessions')), []);
  assert.deepEqual(fs.readdirSync(path.join(env.DAYPASS_HOME, 'credentials')), []);
});

test('somebody is signed in to two brokers; configure keeps what was chosen, and each profile to its broker', async () => {
  const home = e2e.folder();
  const env = { HOME: home, XDG_STATE_HOME: '', DAYPASS_HOME: path.join(home, 'dp'), PATH: process.env.PATH };
  const other = await e2e.demoFor('sam@example.com');
  try {
    await e2e.daypassLogin(other.page, env, '--url', other.broker.url);
    await e2e.daypassLogin(page, env, broker.url);
    const say = (...words) => e2e.run(e2e.daypass, words, { env }).stdout;
    assert.match(say('whoami'), /jane@example\.com[^]*Signed in to /);
    assert.match(say('whoami', '--url', other.broker.url), /sam@example\.com/);
    assert.match(e2e.run(e2e.daypass, ['whoami'], { env: { ...env, DAYPASS_URL: 'http://127.0.0.1:9' }, expect: 3 }).stderr, /not signed in to http:\/\/127\.0\.0\.1:9/);

    say('configure', '--yes', '--template', '{session}.{role}.{account}', '--region', 'eu-west-1');
    say('configure', '--yes', '--session', 'there', '--credential-process', '--url', other.broker.url);
    const file = path.join(home, '.aws/config');
    const first = fs.readFileSync(file, 'utf8');
    assert.match(first, /\[profile daypass\.Administrator\.111122223333\]\nsso_session = daypass\n[^[]*region = eu-west-1\n/);
    assert.match(first, new RegExp(`\\[profile Sandbox-Developer\\]\ncredential_process = \\S+ credential-process --url ${other.broker.url} --account 333344445555 --role Developer\n`));
    // Run again, without a word of it: nothing changes.
    say('configure', '--yes');
    say('configure', '--yes', '--session', 'there', '--url', other.broker.url);
    assert.equal(fs.readFileSync(file, 'utf8'), first);
    assert.equal(JSON.parse(e2e.run('sh', ['-c', /Sandbox-Developer.\ncredential_process = (.*)/.exec(first)[1]], { env }).stdout).AccountId, '333344445555');
    const wrong = (code, pattern, ...words) => assert.match(e2e.run(e2e.daypass, words, { env, expect: code }).stderr, pattern);
    wrong(2, /can't name profiles\n {2}it has \{account\}/, 'configure', '--yes', '--template', '{acount}-{role}');
    wrong(2, /is more than an address\n.*: http:\/\/127\.0\.0\.1:9$/m, 'whoami', '--url', 'http://127.0.0.1:9/prefix');
    wrong(2, /is more than an address/, 'login', 'https://evil.example/\n[profile x]\ncredential_process = y');
    wrong(2, /is not https/, 'login', 'http://broker.example');
    wrong(1, /the session `daypass` leads to http:\S+\n {2}choose another name with --session/, 'configure', '--yes', '--url', other.broker.url);
    wrong(1, /https:\/\/broker\.corp\.test can't be reached/, 'login', 'broker.corp.test');
    wrong(1, /there is no broker in \S*no-store\n {2}say where it is/, 'sessions', '--data', path.join(home, 'no-store'));
    assert.ok(!fs.existsSync(path.join(home, 'no-store')), 'nothing is made');
    assert.deepEqual(Object.keys(JSON.parse(e2e.run(e2e.daypass, ['exec', '--json', '--nonsense'], { env, expect: 2 }).stderr)).sort(), ['error', 'exit_code', 'hint']);
    // Signed out of one, not of the other.
    say('logout');
    assert.match(say('whoami', '--url', other.broker.url), /sam@example\.com/);
  } finally {
    await other.stop();
  }
});

test('the AWS CLI\'s own wizard, aws configure sso, finds accounts and roles', async () => {
  const terminal = new Terminal('wizard', 100, { AWS_ENDPOINT_URL_SSO: broker.url, AWS_ENDPOINT_URL_SSO_OIDC: broker.url });
  const answer = async (question, text) => {
    await terminal.see(question);
    if (text) terminal.keys('-l', text);
    terminal.keys('Enter');
  };
  await terminal.type(`${process.env.E2E_AWS_CURRENT} configure sso --profile wizard --no-browser --use-device-code`);
  await answer(/SSO session name/, 'corp');
  await answer(/SSO start URL/, 'https://corp.awsapps.com/start');
  await answer(/SSO region/, 'daypass-1');
  await answer(/SSO registration scopes/, '');
  const [code] = await terminal.see(/[A-Z]{4}-[A-Z]{4}/);
  await page.goto(`${broker.url}/device?user_code=${code}`);
  await e2e.approve(page);
  await terminal.see(/There are 3 AWS accounts available/);
  // The first one is marked; it has one role.
  await answer(/Sandbox, .*333344445555/, '');
  await answer(/region/i, '');
  await answer(/output format/, '');
  await terminal.done();
  terminal.keep('configure-sso');
  const config = fs.readFileSync(path.join(terminal.home, '.aws/config'), 'utf8');
  assert.match(config, /\[profile wizard\][^[]*sso_account_id = 111122223333[^[]*sso_role_name = Administrator/);
});

test('shells complete commands and the names of roles, and there is a man page for every command', async () => {
  const home = e2e.folder();
  for (const shell of ['bash', 'zsh', 'fish', 'powershell', 'elvish']) assert.match(e2e.run(e2e.daypass, ['completions', shell]).stdout, shell === 'powershell' ? /Register-ArgumentCompleter -Native -CommandName daypass/ : /DAYPASS_COMPLETE/);
  const shells = {
    bash: ['source <(daypass completions bash)'],
    zsh: ['source <(daypass completions zsh)', 'zsh', '-f'],
    fish: ['daypass completions fish | source', 'fish', '--no-config', '--init-command', "function fish_prompt; echo '$ '; end"],
  };
  for (const [shell, [source, ...program]] of Object.entries(shells)) {
    const terminal = new Terminal(`completing-${shell}`, 100, {}, ...program);
    await e2e.daypassLogin(page, { HOME: terminal.home, XDG_STATE_HOME: '', DAYPASS_HOME: '', PATH: process.env.PATH }, broker.url);
    await terminal.type(`${source}; daypass roles | wc -l`);
    assert.match(await terminal.done(), /\n4\n/);
    const complete = async (typed, pattern) => {
      await terminal.type('');
      terminal.keys('-l', typed);
      terminal.keys('Tab', 'Tab', 'Tab');
      await terminal.see(pattern);
      terminal.keys('C-u');
    };
    await complete('daypass log', /login\b[^]*\blogout/);
    await complete('daypass exec prod', /Production\/(ReadOnly|Deployer)\b[^]* +Production\/(ReadOnly|Deployer)/);
    await complete('daypass exec 3333', /daypass exec 333344445555\/Developer/);
  }
  e2e.run(e2e.daypass, ['man', home]);
  assert.match(fs.readFileSync(path.join(home, 'daypass-exec.1'), 'utf8'), /takes the place of daypass/);
  const pages = fs.readdirSync(home);
  for (const command of ['', '-login', '-roles', '-exec', '-configure', '-doctor', '-credential-process']) assert.ok(pages.includes(`daypass${command}.1`), pages.join());
});
