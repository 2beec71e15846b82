// Whether this browser offers a graphics card for computing. A merely emulated card is slower than WebAssembly.
export const isReal = adapter => !adapter.info?.isFallbackAdapter;

export async function hasWebGPU() {
  try {
    const adapter = await navigator.gpu?.requestAdapter();
    return Boolean(adapter) && isReal(adapter);
  } catch { return false; }
}
