// Whether this browser lends a GPU to computations.
export async function hasWebGPU() {
  try { return Boolean(await navigator.gpu?.requestAdapter()); }
  catch { return false; }
}
