// node functions.mjs PACKAGE: writes PACKAGE/functions.d.ts, the types of what the registry has.
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const folder = path.resolve(process.argv[2]);
const { init } = await import(pathToFileURL(path.join(folder, 'index.js')));
const wa = await init({ backend: 'cpu' });
const said = (text) => text.replaceAll('*/', '* /').replaceAll('\n', ' ');
const members = wa
  .functions()
  .filter(({ name }) => Object.hasOwn(wa, name))
  .map(({ name, formula }) => `  /** \`${said(formula)}\` */\n  readonly ${name}: Call;\n`);
const text = `import type { Call } from './index.d.ts';

/** The functions of the library's registry, by their names. */
export interface Functions {
${members.join('')}}
`;
fs.writeFileSync(path.join(folder, 'functions.d.ts'), text);
