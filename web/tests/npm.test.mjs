// The package as npm installs it, in Node, which has no WebGPU.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';

const web = process.env.ACTIVATIONS_WEB;

test('the tarball installs, and the CPU computes in Node', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'wgpu-activations-'));
  try {
    const { version } = JSON.parse(fs.readFileSync(path.join(web, 'wgpu-activations/package.json')));
    const tarball = `wgpu-activations-${version}.tgz`;
    fs.writeFileSync(path.join(folder, 'package.json'), '{ "private": true, "type": "module" }');
    execFileSync('npm', ['install', '--offline', '--no-audit', '--no-fund', path.join(web, tarball)], { cwd: folder });
    const program = `
      import { init, version } from 'wgpu-activations';
      const wa = await init();
      const gpu = await init({ backend: 'gpu' }).catch((error) => error.code);
      console.log(JSON.stringify([wa.kind, Array.from(await wa.relu([-1, 2])), gpu, await version()]));`;
    fs.writeFileSync(path.join(folder, 'run.js'), program);
    const said = execFileSync('node', ['run.js'], { cwd: folder, encoding: 'utf8' });
    assert.deepEqual(JSON.parse(said), ['cpu', [0, 2], 'NoAdapter', version]);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
});

test('the compiled library is small', () => {
  const size = gzipSync(fs.readFileSync(path.join(web, 'wgpu-activations/native_bg.wasm')), { level: 9 }).length;
  console.log(`native_bg.wasm: ${(size / 1024).toFixed(0)} KiB gzipped`);
  assert.ok(size <= 800_000, String(size));
});
