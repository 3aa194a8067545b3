// A headless Chromium with SwiftShader's WebGPU, for the tests. Run beside node_modules.
import { createRequire } from 'node:module';
import { serve } from './serve.mjs';

const require = createRequire(process.cwd() + '/');
const { chromium } = require('playwright-core');

/** Without the first two, Chromium has no adapter here, and says nothing. */
const FLAGS = [
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--no-sandbox',
  '--disable-gpu-sandbox',
  '--disable-dev-shm-usage',
  '--disable-background-networking',
  '--disable-component-update',
];

export const launch = (flags = FLAGS) =>
  chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: flags });

/** No WebGPU at all. */
export const WITHOUT = FLAGS.slice(2);

/** A page over the package's folder, which fails the test that has an error in the console. */
export async function open(browser, { viewport } = {}) {
  const site = await serve(process.env.ACTIVATIONS_WEB ?? '..', 0, { '/blank.html': '<!doctype html><title>test</title><link rel="icon" href="data:,">' });
  const context = await browser.newContext({ viewport });
  const page = await context.newPage();
  const said = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) said.push(`${message.type()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => said.push(`page: ${error.message}`));
  await page.goto(`${site.url}blank.html`);
  return {
    page,
    said,
    close: async () => {
      await context.close();
      site.close();
    },
  };
}
