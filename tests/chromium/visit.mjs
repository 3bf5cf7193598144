// Goes through pages in Chromium as a person with a keyboard does, and tells what it saw.
//
// Takes one JSON object from standard input and writes one to standard output; mod.rs has both forms. Nothing is put
// into a page before its console messages, violations of its policy and requests were collected; only then does axe look
// at it, by the debugger's own way into the page, which no policy holds up.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { chromium } from 'playwright-core';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
const mostTabs = 20;

const job = JSON.parse(await text(process.stdin));
setTimeout(() => { console.error('still at it after five minutes'); process.exit(1); }, 300_000).unref();

const browser = await chromium.launch({
  executablePath: job.chromium,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
const tours = [];
for (const tour of job.tours) tours.push(await walk(tour));
await browser.close();
process.stdout.write(JSON.stringify(tours));

async function walk({ name, view, origins, steps }) {
  const context = await browser.newContext({
    colorScheme: view.color,
    viewport: { width: view.width, height: view.height },
    deviceScaleFactor: view.scale,
    forcedColors: view.forced ? 'active' : 'none',
    contrast: view.forced ? 'more' : 'no-preference',
    reducedMotion: 'reduce',
    locale: 'en-GB',
  });
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  const seen = await watch(context, page, origins);
  const looks = [];
  let tabs = [];
  try {
    for (const step of steps) {
      if (step.goto) await page.goto(step.goto);
      if (step.forget) await context.clearCookies();
      if (step.tab) tabs.push(...await tab(page, step.tab));
      if (step.enter) await Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')]);
      if (step.look) {
        looks.push({ name: step.look, tabs, ...await look(page, seen) });
        tabs = [];
        const pictures = process.env.TEST_PICTURES;
        const picture = step.picture ?? (pictures && `${pictures}/${name}: ${step.look}.png`);
        if (picture) await page.screenshot({ path: picture, fullPage: true });
      }
    }
  } catch (error) {
    const body = await page.locator('body').innerText().catch(() => '');
    return { name, looks, error: `${error}\nat ${page.url()}:\n${body}` };
  } finally {
    await context.close();
  }
  return { name, looks, error: null };
}

// What pages do by themselves: messages, violations of their policy, requests to other places than these origins.
async function watch(context, page, origins) {
  const seen = { paused: false, console: [], violations: [], foreign: [] };
  const note = (list, what) => { if (!seen.paused) seen[list].push(what); };
  page.on('console', (message) => {
    // Chromium's own word on a document whose status is no success.
    const isStatus = message.text().startsWith('Failed to load resource: the server responded with a status of')
      && message.location().url === page.url();
    if (['error', 'warning'].includes(message.type()) && !isStatus) note('console', message.text());
  });
  page.on('pageerror', (error) => note('console', String(error)));
  page.on('request', (request) => {
    if (!origins.includes(new URL(request.url()).origin)) note('foreign', request.url());
  });
  const debug = await context.newCDPSession(page);
  debug.on('Audits.issueAdded', ({ issue }) => {
    if (issue.code === 'ContentSecurityPolicyIssue') note('violations', JSON.stringify(issue.details));
  });
  await debug.send('Audits.enable');
  return seen;
}

// Presses Tab until the element of this name has the focus; tells what had it on the way, and by what it is seen.
async function tab(page, wanted) {
  const passed = [];
  while (passed.length < mostTabs) {
    await page.keyboard.press('Tab');
    const here = await page.evaluate(() => {
      const element = document.activeElement;
      const { outlineStyle, outlineWidth } = getComputedStyle(element);
      const label = element.labels?.[0] ?? element;
      return { name: label.innerText.trim(), outline: outlineStyle === 'none' ? 0 : parseFloat(outlineWidth) };
    });
    passed.push(here);
    if (here.name === wanted) return passed;
  }
  throw new Error(`no way to ${wanted} by keyboard: ${JSON.stringify(passed)}`);
}

async function look(page, seen) {
  const facts = await page.evaluate(async () => {
    // What a page does by itself, it has done by its second frame.
    for (const frame of [1, 2]) await new Promise((done) => requestAnimationFrame(() => done(frame)));
    const texts = (what) => [...document.querySelectorAll(what)].map((element) => element.innerText.trim());
    return {
      url: location.href,
      title: document.title,
      language: document.documentElement.lang,
      headings: texts('h1'),
      mains: texts('main').length,
      news: texts('[role=status], [role=alert]'),
      word: texts('.word code')[0] ?? null,
      text: document.body.innerText,
      width: document.documentElement.scrollWidth - innerWidth,
      background: getComputedStyle(document.body).backgroundColor,
    };
  });
  const { console, violations, foreign } = seen;
  Object.assign(seen, { paused: true, console: [], violations: [], foreign: [] });
  await page.evaluate(axe);
  const { violations: found } = await page.evaluate((values) => axe.run(document, { runOnly: values }), tags);
  seen.paused = false;
  const barriers = found.map((one) => `${one.id}: ${one.help}: ${one.nodes.map((node) => node.html).join(' ')}`);
  return { ...facts, console, violations, foreign, barriers };
}
