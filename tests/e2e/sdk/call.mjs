// One call of the JavaScript SDK, version 3: {url, operation, parameters, credentials} in, {answer} or {refused} out.
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(process.env.E2E_SDK_MODULES, 'x.js'));
const sts = require('@aws-sdk/client-sts');
const given = JSON.parse(process.argv[2]);
const keys = given.credentials && {
  accessKeyId: given.credentials.AccessKeyId, secretAccessKey: given.credentials.SecretAccessKey, sessionToken: given.credentials.SessionToken,
};
const client = new sts.STSClient({ endpoint: given.url, region: 'eu-west-1', maxAttempts: 1, ...(keys && { credentials: keys }) });
try {
  const { $metadata, ...answer } = await client.send(new sts[`${given.operation}Command`](given.parameters));
  console.log(JSON.stringify({ answer }));
} catch (error) {
  if (!error.$metadata?.httpStatusCode) throw error;
  console.log(JSON.stringify({ refused: { code: error.Code ?? error.name, status: error.$metadata.httpStatusCode, message: error.message } }));
}
