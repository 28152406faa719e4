// Requests to the service: nothing but the public API.
import { newToken, token } from "./token.js";

const PRODUCTS = document.body.dataset.products;
const PATIENCE_MS = 30_000;
// The service itself waits a minute for a file.
const FILE_PATIENCE_MS = 120_000;
const UNREACHABLE = "The service cannot be reached. Nothing you typed is lost.";

// An answer of 400 and above, or none at all (status 0).
export class Failure extends Error {
  constructor(message, status = 0, errors = [], options = {}) {
    super(message, options);
    this.status = status;
    this.errors = errors;
  }

  // Whether the same request may succeed later.
  get isTemporary() {
    return this.status === 0 || this.status === 401 || this.status >= 500;
  }
}

// Resolves with {body, etag, next, total, isCopy} of the answer; rejects with a Failure. While it is
// 401, another token is asked for, unless the page is being left.
export async function send(method, path, options = {}) {
  let answer = await attempt(method, path, options);
  while (answer.response.status === 401 && !options.keepalive && (await newToken(answer.used))) {
    answer = await attempt(method, path, options);
  }
  return read(answer);
}

async function attempt(
  method,
  path,
  { body, signal, type, isSecret = method !== "GET", keepalive = false, ...conditions },
) {
  const used = isSecret ? token() : null;
  const patience = AbortSignal.timeout(type ? FILE_PATIENCE_MS : PATIENCE_MS);
  try {
    const response = await fetch(path, {
      method,
      headers: headers({ type: type ?? (body && "application/json"), used, ...conditions }),
      keepalive,
      body: type ? body : body && JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
    });
    return { used, response, text: await response.text() };
  } catch (error) {
    signal?.throwIfAborted();
    throw new Failure(UNREACHABLE, 0, [], { cause: error });
  }
}

function headers({ type, used, etag, isAbsent, key, request }) {
  const all = {
    "Content-Type": type,
    "If-Match": etag,
    "If-None-Match": isAbsent && "*",
    "Idempotency-Key": key,
    "X-Request-ID": request,
    Authorization: used && `Bearer ${used}`,
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value));
}

function read({ response, text }) {
  let body = null;
  try {
    body = text && JSON.parse(text);
  } catch {
    // Something between here and the service has answered.
    throw new Failure(`${UNREACHABLE} (${response.status})`, response.ok ? 0 : response.status);
  }
  if (!response.ok) {
    if (response.status === 401) {
      throw new Failure("Nothing is changed without a token.", 401);
    }
    const reference = response.status >= 500 ? ` (request ${body.request_id})` : "";
    throw new Failure(`${body.detail}${reference}`, response.status, body.errors);
  }
  return {
    body,
    etag: strong(response.headers.get("ETag")),
    next: cursorIn(response.headers.get("Link")),
    total: totalIn(response.headers),
    isCopy: response.headers.has("X-Data-Age"),
  };
}

const pathOf = (id) => `${PRODUCTS}/${id}`;
export const list = (query, signal) => send("GET", `${PRODUCTS}?${query}`, { signal });
export const facets = (query, signal) => send("GET", `${PRODUCTS}/facets?${query}`, { signal });
// Rejects with a Failure while the product can only be read.
export async function get(id, signal) {
  const answer = await send("GET", pathOf(id), { signal });
  if (answer.isCopy) {
    throw new Failure("Products can be seen, but not changed at the moment. Try again later.", 503);
  }
  return answer;
}
// `next` is the place to go on from; without `since` it is the present one.
export const changes = (query) => send("GET", `${PRODUCTS}/changes?${query}`);
export const history = (query, signal) =>
  send("GET", `${PRODUCTS}/history?${query}`, { signal, isSecret: true });
export const lowestPrice = (id) => send("GET", `${pathOf(id)}/lowest-price`);
export const create = (product, key) => send("POST", PRODUCTS, { body: product, key });
export const change = (id, members, etag, request) =>
  send("PATCH", pathOf(id), { body: members, etag, request });
export const replace = (product, etag, request) =>
  send("PUT", pathOf(product.id), { body: product, etag, request });
// A deleted product comes back under its id, if it is not there.
export const bringBack = (product, request) =>
  send("PUT", pathOf(product.id), { body: product, isAbsent: true, request });
export const remove = (id, etag, options) => send("DELETE", pathOf(id), { etag, ...options });

// A file is {type, body}. Its plan changes nothing; the plan's tag has it carried out.
const importPath = (query) => `${PRODUCTS}/import${query && `?${query}`}`;
export const plan = (query, file, signal) =>
  send("POST", importPath([query, "dry_run=true"].filter(Boolean).join("&")), { ...file, signal });
// Its key names the request in the history as well.
export const carryOut = (query, file, etag, key) =>
  send("POST", importPath(query), { ...file, etag, key, request: key });
export const exportPath = (ending, query) => `${PRODUCTS}.${ending}${query && `?${query}`}`;

// Returns a key for a request that may be repeated.
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Changes nothing: finds out whether it would be allowed, and whether it is still the same.
export const probe = (id, etag) => change(id, {}, etag);

// A proxy that compresses weakens the tag, though the product is the same.
function strong(tag) {
  return tag?.replace(/^W\//, "").replace(/-gzip"$/, '"');
}

// Returns how many products match, {number, isExact}; null if that was not asked for.
function totalIn(headers) {
  const number = headers.get("X-Total-Count");
  const isExact = headers.get("X-Total-Count-Precision") !== "estimated";
  return number && { number: Number(number), isExact };
}

function cursorIn(link) {
  const next = link?.match(/<([^>]*)>; rel="next"/);
  const query = next && new URL(next[1]).searchParams;
  return query ? (query.get("cursor") ?? query.get("since")) : null;
}
