// node shot.mjs JOB.json: pictures of dashboards. The file has `browser`, `prometheus`, `influxdb`, and `shots`: each
// with `dashboard`, `picture`, and `settings` for the page. Serves on a free loopback port and ends with its work.
import { createServer } from 'node:http';
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import UPNG from 'upng-js';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const FILES = { '/': 'page.html', '/dist/app.js': 'dist/app.js', '/dist/app.css': 'dist/app.css' };
const TYPES = { html: 'text/html', js: 'text/javascript', css: 'text/css', json: 'application/json' };
const COLOURS = 128;
const PATIENCE = 30000;

const job = JSON.parse(await readFile(process.argv[2], 'utf8'));
let current = job.shots[0];

async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts);
}

async function passedOn(base, path, request) {
  const headers = { 'Content-Type': 'application/x-www-form-urlencoded' };
  const answer = await fetch(base + path, { method: 'POST', body: await body(request), headers });
  return [answer.status, TYPES.json, Buffer.from(await answer.arrayBuffer())];
}

async function answered(request) {
  const path = new URL(request.url, 'http://here').pathname;
  if (path.startsWith('/prometheus/')) return passedOn(job.prometheus, path.slice('/prometheus'.length), request);
  if (path.startsWith('/influxdb/')) return passedOn(job.influxdb, path.slice('/influxdb'.length), request);
  if (path === '/settings.json') return [200, TYPES.json, JSON.stringify(current.settings)];
  if (path === '/dashboard.json') return [200, TYPES.json, await readFile(current.dashboard)];
  const file = FILES[path];
  if (!file) return [404, 'text/plain', ''];
  return [200, TYPES[file.split('.').pop()], await readFile(HERE + file).catch(() => '')];
}

const server = createServer(async (request, response) => {
  const [status, type, content] = await answered(request).catch((error) => [502, 'text/plain', String(error)]);
  response.writeHead(status, { 'Content-Type': type });
  response.end(content);
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const address = `http://127.0.0.1:${server.address().port}/`;

async function taken(browser, shot) {
  current = shot;
  const page = await browser.newPage({ viewport: { width: shot.settings.width, height: 900 }, deviceScaleFactor: 1 });
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  await page.goto(address);
  const done = () => document.title === 'rendered' && window.__report().waiting === 0;
  await page.waitForFunction(done, null, { timeout: PATIENCE }).catch((error) => errors.push(String(error)));
  if (errors.length > 0) throw new Error(`${shot.dashboard}: ${errors.join('; ')}`);
  await page.waitForTimeout(700);
  const png = await page.locator('#page').screenshot();
  errors.push(...(await page.evaluate(() => window.__report().failures)));
  await page.close();
  const { width, height } = UPNG.decode(png);
  const few = Buffer.from(UPNG.encode(UPNG.toRGBA8(UPNG.decode(png)), width, height, COLOURS));
  await writeFile(shot.picture, few);
  return { picture: shot.picture, width, height, bytes: few.length, errors };
}

const browser = await chromium.launch({ executablePath: job.browser, args: ['--no-sandbox', '--disable-gpu'] });
try {
  const found = [];
  for (const shot of job.shots) found.push(await taken(browser, shot));
  console.log(JSON.stringify(found, null, 1));
} finally {
  await browser.close();
  server.close();
}
