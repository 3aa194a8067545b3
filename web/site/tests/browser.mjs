// Chromium on target/site, for the tests: SwiftShader's WebGPU, and none but the page's own folder.

import { chromium } from 'playwright-core';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../target/site/', import.meta.url));
const types = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.wasm': 'application/wasm',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.woff2': 'font/woff2',
};

/** Serves the page under a path of its own, as any server may. */
function serve() {
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://local');
    const file = path.join(root, pathname.replace(/^\/some\/path\//, '').replace(/^$/, 'index.html'));
    fs.readFile(file, (error, data) => {
      response.writeHead(error ? 404 : 200, { 'content-type': types[path.extname(file)] ?? 'application/octet-stream' });
      response.end(data);
    });
  });
  return new Promise((done) => server.listen(0, '127.0.0.1', () => done({ server, base: `http://127.0.0.1:${server.address().port}/some/path/` })));
}

/** Without these, Chromium has no adapter here, and says nothing. */
const GPU = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'];

function launch(gpu, flags) {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      ...(gpu ? GPU : []),
      ...flags,
      '--no-sandbox',
      '--disable-gpu-sandbox',
      '--disable-dev-shm-usage',
      '--disable-background-networking',
      '--disable-component-update',
    ],
  });
}

/** A browser and a server for the tests of a file. `open` gives a page, whose console `errors` are kept. */
export async function opened({ gpu = true, flags = [] } = {}) {
  const [{ server, base }, browser] = await Promise.all([serve(), launch(gpu, flags)]);
  return {
    base,
    browser,
    async open(address = '?backend=gpu#/curves', options = {}) {
      const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: 'en-GB', ...options });
      const page = await context.newPage();
      const errors = [];
      // Chromium's own word for what the page tells its reader.
      const said = (message) => ['error', 'warning'].includes(message.type()) && message.text() !== 'No available adapters.';
      page.on('console', (message) => said(message) && errors.push(`${message.type()}: ${message.text()}`));
      page.on('pageerror', (error) => errors.push(error.message));
      page.on('crash', () => errors.push('the page crashed'));
      // Nothing is asked of other places.
      page.on('request', (request) => request.url().startsWith('http') && !request.url().startsWith(base) && errors.push(`asks ${request.url()}`));
      await page.goto(base + address);
      await page.waitForSelector('.status[data-kind]');
      return Object.assign(page, { errors });
    },
    async close() {
      await browser.close();
      server.close();
    },
  };
}

/** The cells of a table by its mark, row by row. */
export function cells(page, mark) {
  return page.$$eval(`[data-test="${mark}"] tbody tr`, (rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent.trim())));
}
