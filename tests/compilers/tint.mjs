// node tint.mjs FOLDER: makes every pipeline of FOLDER/index.tsv with Dawn's device that has no GPU,
// whose compiler is Tint. Run beside node_modules.
import fs from 'node:fs';
import { createRequire } from 'node:module';
const { create, globals } = await import(createRequire(process.cwd() + '/').resolve('webgpu'));
Object.assign(globalThis, globals);

const folder = process.argv[2];
const gpu = create(['backend=null']);
const adapter = await gpu.requestAdapter();
const { maxStorageBuffersPerShaderStage } = adapter.limits;
const device = await adapter.requestDevice({ requiredLimits: { maxStorageBuffersPerShaderStage } });

async function failure(code, entryPoint, bindings, workgroup) {
  device.pushErrorScope('validation');
  device.pushErrorScope('internal');
  let thrown;
  try {
    const module = device.createShaderModule({ code });
    const entries = bindings.map(([binding, type]) => (
      { binding, visibility: GPUShaderStage.COMPUTE, buffer: { type } }));
    const layout = device.createPipelineLayout({
      bindGroupLayouts: [device.createBindGroupLayout({ entries })] });
    const constants = workgroup ? { workgroup_size: workgroup } : {};
    await device.createComputePipelineAsync({ layout, compute: { module, entryPoint, constants } });
  } catch (error) {
    thrown = error.message;
  }
  const errors = [await device.popErrorScope(), await device.popErrorScope()];
  return errors.find((error) => error)?.message ?? thrown;
}

// A barrier where not all invocations come: it must be refused, or nothing is looked at.
const refused = `
@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) local: u32) {
  if local == 0u { workgroupBarrier(); }
}`;
if (!await failure(refused, 'main', [], 0)) {
  console.log('FAILED: Tint takes a barrier in flow that is not uniform');
  process.exit(1);
}

let compiled = 0, failed = 0;
for (const line of fs.readFileSync(`${folder}/index.tsv`, 'utf8').trim().split('\n')) {
  const [module, , entry, , bindings, workgroup, name] = line.split('\t');
  const code = fs.readFileSync(`${folder}/${module}.wgsl`, 'utf8');
  const bound = bindings.split(',').filter(Boolean).map((binding) => binding.split(':'))
    .map(([number, type]) => [Number(number), type]);
  const why = await failure(code, entry, bound, Number(workgroup));
  if (why) {
    failed += 1;
    console.log(`FAILED ${name}, ${entry}: ${why.slice(0, 600)}`);
  } else {
    compiled += 1;
  }
}
console.log(`${compiled} compiled, ${failed} failed`);
process.exit(failed ? 1 : 0);
