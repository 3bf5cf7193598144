// A person in a real browser: opens a link, says who they are, consents, and ends on a page of the operator.
// Argument: JSON with
//   link         where to begin
//   user         who signs in at the app
//   host, port   the operator's public name, which stands for this machine
//   keyHash      of the certificate that is served there
//   packages     a folder with playwright-core in its node_modules
//   screenshot   a file for a picture of the last page
// Prints JSON: {url, title, heading, status, trail}.
import { createRequire } from 'node:module';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const input = JSON.parse(process.argv[2]);
const { chromium } = createRequire(join(input.packages, 'package.json'))('playwright-core');

const profile = mkdtempSync(join(tmpdir(), 'person-'));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync',
    `--host-resolver-rules=MAP ${input.host} 127.0.0.1`,
    `--ignore-certificate-errors-spki-list=${input.keyHash}`,
  ],
});

async function main() {
  const page = context.pages()[0] ?? (await context.newPage());
  page.setDefaultTimeout(60_000);
  const trail = [];
  page.on('framenavigated', (frame) => {
    if (frame === page.mainFrame()) {
      const url = new URL(frame.url());
      trail.push(url.host + url.pathname.replace(/[A-Za-z0-9_-]{20,}/g, '…'));
    }
  });
  let response = await page.goto(input.link);
  for (let clicks = 0; clicks < 8; clicks += 1) {
    await page.waitForLoadState('load');
    const url = new URL(page.url());
    const buttons = page.locator('button, input[type=submit]');
    if (url.hostname === input.host && (url.pathname.endsWith('/callback') || (await buttons.count()) === 0)) break;
    const login = page.locator('input[name=login]');
    if (await login.count()) {
      await login.fill(input.user);
      await page.locator('input[name=password]').fill('correct horse');
    }
    const [navigated] = await Promise.all([
      page.waitForNavigation({ waitUntil: 'load' }),
      buttons.first().click(),
    ]);
    response = navigated ?? response;
  }
  if (input.screenshot) await page.screenshot({ path: input.screenshot });
  return {
    url: page.url().split('?')[0],
    title: await page.title(),
    heading: (await page.locator('h1').allTextContents()).join(' '),
    text: (await page.locator('main').allInnerTexts()).join(' '),
    status: response?.status(),
    trail,
  };
}

try {
  console.log(JSON.stringify(await main()));
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
