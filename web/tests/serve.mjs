// node serve.mjs FOLDER [PORT]: FOLDER as a web site on this machine; serve(folder, port) does so for tests.
import http from 'node:http';
import fs from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const TYPES = {
  '.css': 'text/css',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.mjs': 'text/javascript',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
  '.webmanifest': 'application/manifest+json',
};

/** Serves a folder, or what `pages` has by its path; gives the address and a way to end. */
export async function serve(folder, port = 0, pages = {}) {
  const root = path.resolve(folder);
  const server = http.createServer(async (request, response) => {
    try {
      const { pathname } = new URL(request.url, 'http://localhost');
      const asked = decodeURIComponent(pathname.endsWith('/') ? `${pathname}index.html` : pathname);
      const file = path.join(root, asked);
      if (asked in pages) {
        response.writeHead(200, { 'content-type': TYPES[path.extname(asked)] ?? 'text/html' }).end(pages[asked]);
        return;
      }
      if (!file.startsWith(root + path.sep)) throw new Error('outside');
      const data = await fs.readFile(file);
      const type = TYPES[path.extname(file)] ?? 'application/octet-stream';
      response.writeHead(200, { 'content-type': type, 'cache-control': 'no-cache' }).end(data);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [folder, port] = process.argv.slice(2);
  const { url } = await serve(folder, Number(port ?? 8080));
  console.log(`${url} serves ${folder}; Ctrl-C ends it`);
}
