// The generator in the browser: two ONNX files, the halves of one network, run by ONNX Runtime Web.
import { hasWebGPU } from "./gpu.js";

const here = name => new URL(name, import.meta.url).href;
const CHANNELS = { features: 3, render: 64 };

export async function pickBackend() { return await hasWebGPU() ? "webgpu" : "wasm"; }

async function runtime(backend, numThreads) {
  const ort = await import(here(`ort/ort.${backend}.min.mjs`));
  Object.assign(ort.env.wasm, { wasmPaths: here("ort/"), numThreads });
  ort.env.logLevel = "error";
  return ort;
}

export class Network {
  constructor(name, backend, threads, onBackend) { Object.assign(this, { name, backend, threads, onBackend }); }

  async load() {
    this.ort = await runtime(this.backend, this.threads);
    const options = { executionProviders: [this.backend] };
    this.halves = {};
    for (const half of ["features", "render"]) {
      const file = here(`models/${this.name}-${half}.onnx`);
      this.halves[half] = await this.ort.InferenceSession.create(file, options);
    }
    return this;
  }

  // Runs one half of the network on planes that fill a box. If the GPU fails, we repeat the step and go on without it.
  async run(half, planes, [top, bottom, left, right]) {
    const step = async () => {
      const session = this.halves[half], shape = [1, CHANNELS[half], bottom - top, right - left];
      const answers = await session.run({ [session.inputNames[0]]: new this.ort.Tensor("float32", planes, shape) });
      return answers[session.outputNames[0]].data;
    };
    try { return await step(); }
    catch (error) {
      if (this.backend !== "webgpu") throw error;
      await this.leaveGPU();
      return step();
    }
  }

  async leaveGPU() {
    this.backend = "wasm";
    await this.load();
    this.onBackend(this.backend);
  }

  async release() { for (const session of Object.values(this.halves)) await session.release().catch(() => {}); }
}

// Loads the network, without the GPU if loading fails there.
export async function openNetwork(name, backend, threads, onBackend) {
  const network = new Network(name, backend, threads, onBackend);
  try { return await network.load(); }
  catch (error) {
    if (backend !== "webgpu") throw error;
    await network.leaveGPU();
    return network;
  }
}
