// The check beside the page, so that the page stays usable.

import { init } from 'wgpu-activations';
import { checking, type Told, type Wish } from './checking';
import { words } from './words';

const tell = (told: Told) => postMessage(told);

addEventListener('message', async (event: MessageEvent<Wish>) => {
  try {
    const wa = await init({ backend: event.data.backend });
    await checking(wa, event.data, tell);
    wa.dispose();
  } catch (error) {
    tell({ what: 'error', problem: words(error) });
  }
});
