// Requests as apps sign them, by the libraries that the apps or their standard publish. Standard input: a list of
// {scheme, secret, body}; standard output: for each the headers, and for Discord the public key that belongs to them.
import { generateKeyPairSync, sign as signWith } from 'node:crypto';
import { sign as signGithub } from '@octokit/webhooks-methods';
import { verifyKey } from 'discord-interactions';
import { Webhook } from 'standardwebhooks';
import Stripe from 'stripe';

const stripe = new Stripe('sk_test_unused');

const schemes = {
  github: async ({ secret, body }) => ({
    'x-hub-signature-256': await signGithub(secret, body),
    'x-github-event': 'issues',
    'x-github-delivery': '72d3162e-cc78-11e3-81ab-4c9367dc0958',
  }),
  stripe: async ({ secret, body }) => ({
    'stripe-signature': stripe.webhooks.generateTestHeaderString({ payload: body, secret }),
  }),
  standard: async ({ secret, body }) => {
    const [id, now] = ['msg_p5jXN8AQM9LWM0D4loKWxJek', new Date()];
    return {
      'webhook-id': id,
      'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
      'webhook-signature': new Webhook(secret).sign(id, now, body),
    };
  },
  // Discord publishes what verifies; what is signed here passes it.
  discord: async ({ body }) => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    const timestamp = String(Math.floor(Date.now() / 1000));
    const signature = signWith(null, Buffer.from(timestamp + body), privateKey).toString('hex');
    const key = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32).toString('hex');
    if (!(await verifyKey(body, signature, timestamp, key))) throw new Error('Discord would not take it');
    return { 'x-signature-ed25519': signature, 'x-signature-timestamp': timestamp, key };
  },
};

let text = '';
for await (const chunk of process.stdin) text += chunk;
const signed = await Promise.all(JSON.parse(text).map((one) => schemes[one.scheme](one)));
process.stdout.write(JSON.stringify(signed));
