import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vite';

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Whose work is in the page, with the licences, which go where the page goes. */
function licences(): Plugin {
  const of = (name: string) => `${name}\n\n${fs.readFileSync(at(`node_modules/${name}/LICENSE`), 'utf8')}`;
  const digits = fs.readFileSync(at('../../examples/data/README.md'), 'utf8').split('# Handwritten digits')[1];
  return {
    name: 'licences',
    generateBundle() {
      const crates = fs.readFileSync(at('../../target/web/wgpu-activations/THIRD-PARTY.txt'), 'utf8');
      const source = [of('uplot'), of('@fontsource-variable/inter'), `Handwritten digits\n${digits}`, crates].join('\n\n----\n\n');
      this.emitFile({ type: 'asset', fileName: 'licences.txt', source });
    },
  };
}

export default defineConfig({
  // Any folder of any server will do.
  base: './',
  assetsInclude: ['**/*.npy'],
  plugins: [licences()],
  resolve: { alias: { 'wgpu-activations': at('../../target/web/wgpu-activations/index.js') } },
  build: { outDir: at('../../target/site'), emptyOutDir: true, target: 'es2022', assetsInlineLimit: 0 },
  worker: { format: 'es' },
  server: { fs: { allow: [at('../..')] } },
});
