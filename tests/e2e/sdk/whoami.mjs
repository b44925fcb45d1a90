// Who the JavaScript SDK is by the profile in AWS_PROFILE alone.
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(process.env.E2E_SDK_MODULES, 'x.js'));
const { STSClient, GetCallerIdentityCommand } = require('@aws-sdk/client-sts');
const { Arn } = await new STSClient({ maxAttempts: 1 }).send(new GetCallerIdentityCommand({}));
console.log(JSON.stringify({ Arn }));
