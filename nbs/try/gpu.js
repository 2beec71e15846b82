// Whether this browser lends a graphics card to computations. One that is only emulated is slower than WebAssembly.
export const isReal = adapter => !adapter.info?.isFallbackAdapter;

export async function hasWebGPU() {
  try {
    const adapter = await navigator.gpu?.requestAdapter();
    return Boolean(adapter) && isReal(adapter);
  } catch { return false; }
}
