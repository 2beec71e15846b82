// Threads share memory, which browsers allow only in pages that headers isolate from other sites. A simple server, such
// as GitHub Pages, sends no such headers. So a service worker adds them, from the next time that the page is loaded.
const here = name => new URL(name, import.meta.url).href;
const REFUSED = "Several threads need a service worker that isolates the page, and this browser allows none here.";
const LATER = "When you open the page again, there will be several threads.";

// Resolves when a service worker runs or has been given up. (`serviceWorker.ready` would wait for one forever.)
function settled(worker) {
  return new Promise(resolve => {
    const look = () => { if (["activated", "redundant"].includes(worker.state)) resolve(worker.state); };
    worker.addEventListener("statechange", look);
    look();
  });
}

// Installs the service worker and loads the page again, if the reader has not begun. It gives the reason if not.
// A page that was loaded again, or came through the service worker, is not loaded again: that would not help.
export async function isolate(hasBegun) {
  const [{ type }] = performance.getEntriesByType("navigation");
  try {
    const { serviceWorker } = navigator;
    if (serviceWorker.controller) return REFUSED;
    const found = await serviceWorker.register(here("../try-headers.js"), { scope: here("../try") });
    if (await settled(found.installing ?? found.waiting ?? found.active) === "redundant") return REFUSED;
  } catch { return REFUSED; } // a private window, or one without a secure connection
  if (type !== "reload" && !hasBegun()) location.reload();
  return LATER;
}
