// A service worker that adds headers to the page `try` and to its workers, as a server would if it could: the first two
// isolate the page, so that its workers may share memory (threads need that), the third is in try/policy.js.
// It is here and not in `try` because a service worker can only serve pages in its own folder. The page asks for the
// addresses that begin with `try` (isolation.js), so other pages of the site stay as they are.
importScripts("try/policy.js");

const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Content-Security-Policy": TRY_POLICY,
};

async function withHeaders(request) {
  const answer = await fetch(request);
  if (answer.type === "opaqueredirect") return answer; // the browser follows it, and asks again
  const headers = new Headers(answer.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  return new Response(answer.body, { status: answer.status, statusText: answer.statusText, headers });
}

addEventListener("install", () => skipWaiting());
addEventListener("activate", event => event.waitUntil(clients.claim()));
addEventListener("fetch", event => { // everything else goes its usual way
  if (["document", "worker"].includes(event.request.destination)) event.respondWith(withHeaders(event.request));
});
