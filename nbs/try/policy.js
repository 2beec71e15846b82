// What the page `try` and its workers may load, and where they may send anything: this site, and nowhere else.
// The page puts this policy into its head, and try-headers.js into the headers of the page and of its workers.
// Quarto's pages need 'unsafe-inline': they have scripts, styles and onclick attributes in their HTML.
self.TRY_POLICY = [
  "default-src 'self'",
  "connect-src 'self'",
  "script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'",
  "worker-src 'self' blob:",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' blob: data:",
  "font-src 'self' data:",
  "object-src 'none'",
  "base-uri 'self'",
  "form-action 'self'",
].join("; ");
